"""MMAction2's `tools/test.py`, in the spellings of 0.x and 1.x, on `i3d.evaluation.evaluate.evaluate_each`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from i3d.cli import output
from i3d.cli.mmaction2.arguments import Arguments, clips_of, device_of, read_asked
from i3d.cli.options import is_first
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.evaluation.result import Evaluation, Metrics

METRICS: Final = ("top_k_accuracy", "mean_class_accuracy")  # that 1.x tells without being asked
TOP_K: Final = "metric_options.top_k_accuracy.topk"


def run_test(arguments: Sequence[str] | None = None) -> None:
    """`tools/test.py`: MMAction2's flags, our test."""
    from i3d.evaluation.exports import check_out
    from i3d.evaluation.named_metrics import check_metrics

    options = _options(arguments)
    if options.out and options.dump:
        raise InputError("--out, --dump: are the same in 0.x and 1.x; choose one of them")
    out = Path(options.out or options.dump) if options.out or options.dump else None
    keeps_views = options.average_clips == "none"
    check_out(out, "mmaction2", keeps_views=keeps_views, option="--out" if options.out else "--dump")
    device = device_of(options, f"dist_test.sh {options.config} {options.checkpoint}")
    asked = read_asked(options.config, options.cfg_options)
    if asked.version == 0 and out is None and not options.eval:
        raise InputError(
            "nothing is asked for: say --eval top_k_accuracy mean_class_accuracy, --out result.json, or both"
        )
    top_k = _top_k(options.eval_options)
    check_metrics(options.eval, top_k, multi_label=asked.config.recipe.multi_label)
    if keeps_views and (options.eval or out is None):
        raise InputError(
            "--average-clips none: keeps the scores of every view, which have no accuracy; say --out alone"
        )
    for note in asked.config.notes if is_first() else ():
        output.say(f"note: {note}")
    num_bad = evaluate_by_config(
        asked,
        Path(options.checkpoint),
        config=options.config,
        device=device,
        metrics=options.eval or (None if asked.version == 1 and not keeps_views else []),
        top_k=top_k,
        average=options.average_clips,
        out=out,
        force=options.force,
    )
    if num_bad and is_first():  # of several processes, one that fails would end the others
        raise SystemExit(3)


def evaluate_by_config(
    asked: Arguments,
    checkpoint: Path,
    *,
    config: str,
    device: str,
    metrics: Sequence[str] | None = None,
    top_k: Sequence[int] = (1, 5),
    average: str | None = None,
    out: Path | None = None,
    force: bool = False,
) -> int:
    """Test a checkpoint by a config on its list for testing, tell the metrics; how many clips could not be read.

    `metrics` None: those that the classes have.
    """
    from i3d.data.resume import Resume
    from i3d.evaluation.evaluate import evaluate_each
    from i3d.evaluation.exports import write_results
    from i3d.evaluation.result import compute_metrics
    from i3d.evaluation.scorer import Variant
    from i3d.recipes.protocols import protocol_name, with_average
    from i3d.utils.device import ComputeConfig
    from i3d.weights.load import load_weights

    keeps_views = average == "none"
    recipe = with_average(asked.config.recipe, None if keeps_views else average)
    weights = load_weights(checkpoint, recipe=recipe)
    if weights.card.recipe.network != recipe.network:
        raise InputError(
            f"{printable(str(checkpoint))}: has another network than {printable(config)}; give the config that it was "
            f"trained by (its own recipe is {weights.card.recipe.name})"
        )
    clips, naming = clips_of(asked.config.lists, "test", recipe, config)
    with output.Testing(len(clips)) as bar:
        (found,) = evaluate_each(
            weights,
            clips,
            variants=[Variant(protocol_name(recipe.protocol), recipe)],
            compute=ComputeConfig(device, num_workers=asked.config.num_workers),
            naming=naming,
            max_bad=1.0,
            keep_views=keeps_views,
            resume=None if out is None else Resume(out, force, "mmaction2"),
            called=str(checkpoint),
            on_clip=bar.clip,
        )
    if is_first():
        for bad in found.bad:
            output.say(f"error: {bad.reason}")
        figures = compute_metrics(found)
        if out is not None:
            write_results(out, [(found, figures)], form="mmaction2")
            what = "a vector for each view of each clip" if keeps_views else "a vector for each clip"
            output.say(f"scores, {what} in the order of the list: {printable(str(out))}")
        default = ("mean_average_precision",) if found.multi_label else METRICS
        _tell(found, figures, default if metrics is None else metrics, top_k, version=asked.version)
    return len(found.bad)


def _tell(found: Evaluation, figures: Metrics, metrics: Sequence[str], top_k: Sequence[int], *, version: int) -> None:
    """The metrics as MMAction2 prints them, and the protocol."""
    from i3d.evaluation.metrics import mean_class_accuracy
    from i3d.evaluation.named_metrics import TABLES, metrics_of

    if not metrics:
        return
    numbers = metrics_of(found, figures, metrics, top_k=top_k)
    if "mean_class_accuracy" in numbers:  # as MMAction2 counts
        value = mean_class_accuracy(found.scores_NK, found.class_N, with_predicted=True)
        numbers["mean_class_accuracy"] = value
    if "per_class" in metrics:
        output.tell_classes(found, figures, every=True)
    if "confusion" in metrics:
        output.tell_confusion(found, figures)
    if version == 1:
        names = {"mean_class_accuracy": "acc/mean1", "mean_average_precision": "map/mean_average_precision"}
        told = {names.get(name, f"acc/{name}"): value for name, value in numbers.items()}
        typer.echo("  ".join(f"{name}: {value:.4f}" for name, value in told.items()))
    else:
        for name in [name for name in metrics if name not in TABLES]:
            typer.echo(f"\nEvaluating {name} ...\n")
            if name == "top_k_accuracy":
                for k in top_k:
                    typer.echo(f"top{k}_acc\t{numbers[f'top{k}']:.4f}")
            else:
                typer.echo(f"{'mean_acc' if name == 'mean_class_accuracy' else name}\t{numbers[name]:.4f}")
        typer.echo("")
        for name, value in numbers.items():
            typer.echo(f"{name}_acc: {value:.4f}" if name.startswith("top") else f"{name}: {value:.4f}")
    bad = f", {figures.num_bad} unreadable are left out" if figures.num_bad else ""
    typer.echo(f"of {figures.num_clips} clips{bad}")
    typer.echo(f"protocol: {printable(found.protocol)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/test.py",
        description="Test a checkpoint by an MMAction2 config, which is parsed and never executed, or a recipe of i3d.",
        epilog="The same command with --out goes on where it was ended. `i3d test --help` has more.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("config", help="an MMAction2 config, or configs/recognition/i3d/NAME.py of a published recipe, or its NAME")
    add("checkpoint", help="a .pth of MMAction2, or a .safetensors of i3d")
    add("--eval", nargs="+", default=[], metavar="METRIC", help="top_k_accuracy, mean_class_accuracy ... (0.x)")
    add("--eval-options", "--options", nargs="+", default=[], metavar="KEY=VALUE", help=f"{TOP_K}=1,5")
    add("--out", metavar="FILE", help="the scores of every clip, a .json or .yaml")
    add("--dump", metavar="FILE", help="the same (1.x)")
    add("--average-clips", choices=["prob", "score", "none"], help="how views are averaged, if not as the config says")
    add("--fuse-conv-bn", action="store_true", help="is always done")
    add("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change the config")
    add("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="pytorch: torchrun started it")
    add("--work-dir", "--work_dir", metavar="DIR", help="accepted: nothing but --out is written (1.x)")
    add("--gpu-collect", action="store_true", help="needless: results are always collected")
    add("--tmpdir", help="needless: results are not collected through files")
    add("--force", action="store_true", help="replace what --out holds from other tests")
    add("--gpus", type=int, help="1; for more use tools/dist_test.sh")
    add("--gpu-ids", type=int, nargs="+", metavar="ID", help="which GPU")
    add("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # torchrun says it in the environment
    return parser.parse_args(arguments)


def _top_k(options: Sequence[str]) -> list[int]:
    from i3d.recipes.mmaction2.options import parse_value

    found: Any = [1, 5]
    for option in options:
        key, sign, text = option.partition("=")
        if not sign or key not in (TOP_K, TOP_K.removeprefix("metric_options."), "topk"):
            raise InputError(f"--eval-options {option!r}: known is {TOP_K}=1,5")
        found = parse_value(text)
        found = [found] if isinstance(found, int) else found
        if not isinstance(found, list) or not all(type(k) is int for k in found):
            raise InputError(f"--eval-options {option!r}: write whole numbers with commas, such as 1,5")
    return list(found)
