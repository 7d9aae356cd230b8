"""`i3d train`: a published recipe, or fine-tuning on your clips with every setting chosen automatically."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Group, Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import accepted, check_recipe, exists, refuse
from i3d.cli.limits import BELOW_1, Within
from i3d.cli.usage import command
from i3d.errors import InputError
from i3d.weights.addresses import check_address, is_address
from i3d.weights.names import check_weights_name

FINETUNE: Final = "finetune"  # the recipe's name
FINETUNING: Final = Group("Fine-tuning (without --recipe)", sort_key=3.5)
BY_RECIPE: Final = Parameter(group=Group("By a recipe (--recipe)", sort_key=3.6))


@Parameter(name="*", group=FINETUNING)
@dataclass(frozen=True)
class FinetuneFlags:
    """What only fine-tuning takes. Whatever is not given is chosen from the clips and the device."""

    train_layers: Literal["head", "last", "all"] | None = None
    """Layers to train: the classifier (head), the last stage too, or all."""

    head: Literal["auto", "linear", "prototype"] | None = None
    """Classifier: linear, prototype (class means), or auto: by cross-validation."""

    views: Annotated[int | None, shared.COUNT] = None
    """Views of each clip that the classifier is fitted on."""

    test_clips: Annotated[int | None, shared.COUNT] = None
    """Clips of each video that are scored."""

    norms: Literal["frozen", "trained", "re-estimated"] | None = None
    """Batch-norm statistics: frozen, trained, or re-estimated on the clips."""

    flip: Literal["on", "off", "swap"] | None = None
    """Mirror images; swap exchanges left and right classes."""

    balance: Literal["none", "sampler", "loss", "focal", "logit-adjust"] | None = None
    """How uneven classes are balanced."""

    layer_decay: Annotated[float | None, Parameter(validator=Within(0.01, 1))] = None
    """Factor of the learning rate for each layer below the classifier."""

    cv_folds: Annotated[int | None, shared.whole(0, 1000)] = None
    """Train and test on all clips in so many folds; 0: not even the classifier of few clips."""

    val_fraction: Annotated[float | None, Parameter(validator=BELOW_1)] = None
    """Fraction to validate on, of clips without a split (default: 0.2)."""

    group_by: shared.GroupBy = None
    """Regular expression; clips whose paths match alike stay together."""

    overfit_check: Annotated[bool, Parameter(negative="--no-overfit-check")] = True
    """First check that the model can overfit eight clips."""

    yes: Annotated[bool, Parameter(alias="-y")] = False
    """Ask no questions."""

    def check_unused(self) -> None:
        """An InputError if one of them is given with a published recipe."""
        given = {f"--{f.name.replace('_', '-')}": getattr(self, f.name) != f.default for f in fields(self)}
        given["--no-overfit-check"] = given.pop("--overfit-check")
        refuse(given, f": is for the recipe {FINETUNE} only (leave --recipe out; --init names the weights)")


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """A training run by any recipe."""

    data: shared.DataOption

    work_dir: Annotated[Path, shared.out_folder("--work-dir")]
    """Folder of the run; the same command resumes it."""

    dataset: shared.ListOptions = shared.ListOptions()
    frames: shared.FrameOptions = shared.FrameOptions()

    recipe: Annotated[
        shared.FileOrName, Parameter(group=shared.MODEL, validator=accepted(check_recipe, "--recipe", FINETUNE))
    ] = FINETUNE
    """finetune, a recipe (`i3d models`), a .yaml, .json or MMAction2 .py."""

    init: Annotated[
        shared.FileOrName | None,
        Parameter(group=shared.MODEL, validator=accepted(check_weights_name, "--init", "none")),
    ] = None
    """Initial weights: a file of any kind, the folder of a run, or a hub name; with --recipe also none."""

    val_list: Annotated[Path | None, BY_RECIPE, Parameter(validator=exists("--val-list"))] = None
    """Clips to validate on (default: the split val of --data)."""

    val_root: Annotated[Path | None, BY_RECIPE, Parameter(validator=exists("--val-root"))] = None
    """Folder that paths of --val-list are relative to."""

    epochs: Annotated[int | None, shared.COUNT] = None
    """Epochs (default: the recipe's)."""

    batch_size: Annotated[int | None, shared.whole(1, 65_536)] = None
    """Clips of a step on each device."""

    accumulate: Annotated[int | None, shared.whole(1, 65_536)] = None
    """Batches whose gradients make one step."""

    lr: Annotated[float | None, Parameter(validator=Within(0, 1_000_000, "low"))] = None
    """Learning rate as given, not scaled to the batch."""

    settings: Annotated[list[str] | None, Parameter(name="--set")] = None
    """Setting of the recipe: training.optimizer.lr=0.02. Repeatable."""

    validate: Annotated[bool, BY_RECIPE, Parameter(negative="--no-validate")] = True
    """Validate as often as the recipe sets, and at the end."""

    validate_every: Annotated[int | None, shared.COUNT] = None
    """Epochs from one validation to the next."""

    max_bad: shared.Fraction | None = None
    """Fraction of clips that may be unreadable (default: 10%; by a recipe 1%, in val 0)."""

    flow_method: shared.FlowMethod | None = None
    """How flow is computed for a network of flow (default: that of the recipe, else dis)."""

    tensorboard: Annotated[bool, BY_RECIPE] = False
    """Write curves for TensorBoard too (`pip install 'i3d[track]'`)."""

    precision: Annotated[shared.Precision | None, Parameter(group=shared.SPEED)] = None
    """Number format (default: the recipe's); auto is the fastest."""

    device: shared.Device = "auto"

    runtime: Annotated[Literal["torch", "compile"], Parameter(group=shared.SPEED)] = "torch"
    """compile: PyTorch's compiler, slow to start, then faster."""

    workers: Annotated[int, Parameter(group=shared.SPEED), shared.whole(0, 1024)] = 2
    """Processes that load clips, for each device."""

    cache: Annotated[Path | None, Parameter(group=shared.SPEED)] = None
    """Folder of computed features and flow (default: $I3D_CACHE)."""

    deterministic: Annotated[bool, Parameter(group=shared.SPEED)] = False
    """Use only repeatable operations."""

    fsdp: Annotated[bool, BY_RECIPE] = False
    """Shard weights and optimiser over the devices."""

    benchmark_steps: Annotated[int | None, BY_RECIPE, shared.COUNT] = None
    """Measure the speed of so many steps and save nothing."""

    finetuning: FinetuneFlags = FinetuneFlags()
    seed: shared.Seed = 0
    json: shared.Json = False


def train(*, options: TrainOptions) -> int:
    """Train a model on your clips, or by a published recipe.

    Without --recipe, the pretrained network is fine-tuned to your classes. Every setting is chosen automatically and
    printed with its reason and the flag that overrides it. The same command resumes an interrupted run.

    Examples:
      i3d train --data clips/ --work-dir my
      i3d train --data clips/ --work-dir my2 --train-layers head --cv-folds 5
      i3d train --recipe i3d_r50_video_32x2x1_100e_kinetics400_rgb --data train.txt --val-list val.txt --work-dir run
      torchrun --nproc-per-node 8 -m i3d train --recipe r.yaml --data clips.csv --work-dir run
    """
    from i3d.recipes.io import check_settings, load_recipe, with_overrides  # with all recipes, which takes a moment

    if options.data.is_dir() and options.work_dir.resolve().is_relative_to(options.data.resolve()):
        why = f"lies in --data {options.data}, whose folders are classes; choose a folder beside it"
        raise InputError(f"--work-dir {options.work_dir}: {why}")
    if options.recipe == FINETUNE:
        _check_finetune(options)
        check_settings(options.settings or [])
        return run.finetune.run_finetune(options)
    options.finetuning.check_unused()
    training = with_overrides(load_recipe(options.recipe), options.settings or []).training
    if options.init is None and training is not None and is_address(training.init):
        check_address(training.init)
    return run.train.run_train(options)


def _check_finetune(options: TrainOptions) -> None:
    if options.init == "none":
        raise InputError("--init none: fine-tuning starts from trained weights; leave it out, or name a --recipe")
    if options.finetuning.cv_folds == 1:
        raise InputError("--cv-folds 1: must be at least 2, or 0 for none")
    lists = {"--val-list": options.val_list, "--val-root": options.val_root}
    refuse(lists, ": goes with a published recipe (--recipe); put a column `split` into --data")
    given = {
        "--benchmark-steps": options.benchmark_steps,
        "--tensorboard": options.tensorboard,
        "--fsdp": options.fsdp,
        "--no-validate": not options.validate,
    }
    refuse(given, ": goes with a published recipe (--recipe); leave it out")


app = command(train, "train")
