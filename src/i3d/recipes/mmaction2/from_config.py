"""Translate an MMAction2 config into a recipe and its lists of clips."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from pydantic import ValidationError

from i3d.errors import InputError
from i3d.recipes.mmaction2.learning_rate import Written, check_scaling, lr_batch, with_base_batch
from i3d.recipes.mmaction2.model import Model, average_clips, read_blending, read_model
from i3d.recipes.mmaction2.pipelines import check_normalised, read_pipeline
from i3d.recipes.mmaction2.places import recipe_error
from i3d.recipes.mmaction2.section import Section
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.mmaction2.testing import TestOutput, read_test_output
from i3d.recipes.mmaction2.training import read_training_0, read_training_1
from i3d.recipes.named import ALIASES, RECIPES
from i3d.recipes.recipe import Recipe

ONLY_IN_1: Final = {"train_dataloader", "val_dataloader", "test_dataloader", "optim_wrapper", "param_scheduler",
                    "default_hooks", "default_scope", "val_evaluator", "test_evaluator", "env_cfg"}  # fmt: skip
# Keys that do not change what is computed: logs, processes, devices, names.
HARMLESS: Final = {
    "checkpoint_config", "log_config", "log_level", "dist_params", "workflow", "cudnn_benchmark", "gpu_ids", "launcher",
    "find_unused_parameters", "opencv_num_threads", "mp_start_method", "default_scope", "env_cfg",
    "log_processor", "vis_backends", "visualizer", "val_cfg", "test_cfg", "val_evaluator", "test_evaluator",
    "auto_resume", "resume",
}  # fmt: skip
# Keys that would change the run and are not supported.
REFUSED: Final = {
    "custom_imports": "imports code, and nothing of a config is executed",
    "module_hooks": "adds hooks to modules",
}
REFUSED_IN_TRAINING: Final = {
    "model_wrapper_cfg": "wraps the model",
    "momentum_config": "changes the momentum",
    "omnisource": "trains on several data sets at once",
    "runner_type": "runs another loop",
    "precise_bn": "is not built",
    "multigrid": "is not built",
    "strategy": "is not built",
}
MAX_SEED: Final = 2**32
KINETICS: Final = re.compile(r"(?:kinetics[-_]?|(?<![a-z0-9])k)(400|600)(?!\d)")
TOP_KEYS: Final = {  # other keys of a 0.x config and of a 1.x config
    0: {"model", "data", "optimizer", "optimizer_config", "lr_config", "total_epochs", "runner", "evaluation", "fp16",
        "load_from", "resume_from", "work_dir", "train_cfg", "seed", "deterministic", "auto_scale_lr",
        "eval_config", "output_config", "custom_hooks"},
    1: {"model", "train_dataloader", "val_dataloader", "test_dataloader", "optim_wrapper", "param_scheduler",
        "train_cfg", "default_hooks", "custom_hooks", "auto_scale_lr", "load_from", "work_dir", "randomness"},
}  # fmt: skip


@dataclass(frozen=True)
class ClipList:
    """The clips of one split, as a data set of a config names them."""

    ann_file: str
    prefix: str  # what its paths start from; "" is the current folder
    format: Literal["videos", "frames", "frames-offset"]
    template: str | None  # of the names of frames; None: inferred from the first folder
    first_index: int


@dataclass(frozen=True)
class Config:
    """A config, translated."""

    recipe: Recipe
    lists: dict[str, ClipList]
    num_workers: int
    work_dir: str
    seed: int | None
    deterministic: bool
    notes: tuple[str, ...]  # assumptions and decisions, for the log
    test_output: TestOutput = field(default_factory=TestOutput)
    validates: bool = True  # it describes a validation
    sync_norms_at: str = ""  # `file:line` of SyncBN


def version_of(table: Table) -> int:
    """The MMAction2 version of a config, 0 or 1; almost all keys differ."""
    return int(bool(ONLY_IN_1 & table.keys()))


def from_config(
    table: Table,
    *,
    where: str,
    name: str,
    placement: str = "",
    base_batch: int | None = None,
    for_training: bool = True,
) -> Config:
    """A config as a recipe.

    `where`: the file, for errors; `placement`: of test clips, by default that of the version; `base_batch`: the clips
    of a step that the learning rate is for, 0 to leave it unscaled, None for what `lr_batch` finds; not `for_training`,
    nothing that only training reads is checked or in the recipe. An unsupported key is an InputError
    `file:line: key = value ...`.
    """
    version, notes = version_of(table), list[str]()
    config = Section(table, "", where)
    _check_refused(config, for_training=for_training)
    if "model" not in config:
        raise InputError(f"{where}: has no `model`; give a whole config, not a part that others take as their _base_")
    model = read_model(config.sub("model"), version=version, notes=notes, for_training=for_training)
    if version == 0:
        testing = config.sub("test_cfg")
        testing.ignore(*testing.table)
        model.average = model.average or average_clips(testing)
        if for_training:
            model.mixup |= read_blending(config.sub("train_cfg"), num_classes=model.network["num_classes"])
    loaders = _loaders(config, version, for_training=for_training)
    placement = placement or ("end_to_end" if version else "centred")
    parts = {
        split: _Split(loader, split, placement=placement, multi_label=model.multi_label)
        for split, loader in loaders.items()
        if loader is not None
    }
    fields: dict[str, Any] = {"name": name, "network": model.network, "multi_label": model.multi_label}
    fields["dataset"] = _dataset(name, [part.clips for part in parts.values()], model.network["num_classes"])
    fields |= _testing(model, parts, config)
    if "train" in parts and for_training:
        fields["training"] = _training(config, model, parts, version, fields["preprocessing"])
    seed, deterministic = _seed(config if version == 0 else config.sub("randomness"), for_training=for_training)
    check_scaling(config, for_training=for_training)
    output = read_test_output(config, version, multi_label=model.multi_label, for_training=for_training, notes=notes)
    _check_rest(config, version, for_training=for_training)
    workers = next((parts[split].num_workers for split in ("train", "test") if split in parts), 2)
    lists = {split: part.clips for split, part in parts.items() if part.clips is not None}
    recipe = _with_lr_batch(_validated(fields, config, parts, where), table, base_batch, notes)
    return Config(
        recipe,
        lists,
        workers,
        config.take("work_dir", ""),
        seed,
        deterministic,
        tuple(notes),
        output,
        validates="val" in parts,
        sync_norms_at=model.sync_norms_at,
    )


def _dataset(name: str, lists: Sequence[ClipList | None], num_classes: int) -> str:
    """The public dataset whose classes a config has; "": unknown.

    Its name, or that of a list or of a folder of clips, must contain that of the dataset. The number of classes alone
    shows nothing: it is the default of a config.
    """
    if (published := RECIPES.get(ALIASES.get(name, name))) is not None and published.network.num_classes == num_classes:
        return published.dataset
    places = [part for clips in lists if clips is not None for part in (clips.ann_file, clips.prefix)]
    names = [name, *(part for place in places for part in Path(place).parts[-2:])]
    matches = [match[1] for text in names if (match := KINETICS.search(text.lower()))]
    return f"kinetics{num_classes}" if matches and set(matches) == {str(num_classes)} else ""


def _check_refused(config: Section, *, for_training: bool) -> None:
    refused = REFUSED | (REFUSED_IN_TRAINING if for_training else {})
    for key, why in refused.items():
        if config.table.get(key) not in (None, [], {}, False):
            raise config.wrong(key, why, "remove it")


def _with_lr_batch(recipe: Recipe, table: Table, base_batch: int | None, notes: list[str]) -> Recipe:
    if recipe.training is None:
        return recipe
    if base_batch is None:
        written = Written(table, recipe)
        base_batch, note = lr_batch(written, written)
        notes.append(note)
    return with_base_batch(recipe, base_batch)


def _validated(fields: dict[str, Any], config: Section, parts: dict[str, "_Split"], where: str) -> Recipe:
    try:
        return Recipe.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        tested = "test" if "test" in parts else "val"  # as `_testing` has it
        datasets = {split: part.loader.sub("dataset") for split, part in ({"test": parts[tested]} | parts).items()}
        raise recipe_error(error, config, datasets, where) from error


def _seed(part: Section, *, for_training: bool) -> tuple[int | None, bool]:
    """(the seed, None if there is none; whether only repeatable operations are used), of a training."""
    if not for_training:
        part.ignore("seed", "deterministic", "diff_rank_seed")
        return None, False
    seed = part.any("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed < MAX_SEED):
        raise part.wrong("seed", f"must be a whole number from 0 to {MAX_SEED - 1:,}, or None")
    part.ignore("diff_rank_seed")  # every clip has random numbers of its own
    return seed, part.take("deterministic", False)


class _Split:
    """One split of a config: its list, its pipeline, its data loader."""

    def __init__(self, loader: Section, split: str, *, placement: str, multi_label: bool) -> None:
        self.loader = loader
        self.batch_size = loader.take("batch_size", loader.take("videos_per_gpu", 1))
        self.num_workers = loader.take("num_workers", loader.take("workers_per_gpu", 2))
        data = loader.sub("dataset")
        if data.kind == "RepeatDataset":  # a clip may come twice before all others have come once
            todo = "write its inner data set in its place, and multiply by times all that counts epochs"
            raise data.wrong("type", "mixes the clips of several epochs", todo)
        frames = data.choose("the data set", "VideoDataset", "RawframeDataset") == "RawframeDataset"
        self.pipeline = read_pipeline(data.each("pipeline"), for_training=split == "train", placement=placement)
        if not self.pipeline.sampling:
            raise data.wrong("pipeline", "samples no frames", "begin it with SampleFrames")
        if self.pipeline.frames is not None and self.pipeline.frames is not frames:
            raise data.wrong("type", "does not go with the steps that decode", "use those for videos or for raw frames")
        self.frames = frames
        self.modality = data.take("modality", "RGB")
        data.only("modality", "RGB", "Flow")
        self.balanced = data.take("sample_by_class", False)
        data.only("power", 0, 0.0)
        if data.take("multi_class", False) is not multi_label:
            raise data.wrong("multi_class", "does not go with the loss of the model")
        data.ignore(
            "num_classes", "test_mode", "delimiter", "dynamic_length", "lazy_init", "serialize_data", "max_refetch"
        )
        self.clips = self._clips(data)
        loader.ignore("persistent_workers", "pin_memory", "prefetch_factor", "collate_fn")
        loader.ignore("batch_size", "num_workers", "workers_per_gpu", "videos_per_gpu")
        sampler = loader.sub("sampler")
        sampler.choose("the sampler", "DefaultSampler", default="DefaultSampler")
        if split == "train":
            sampler.only("round_up", True)
        sampler.ignore("seed", "type", "round_up")  # the seed of the run is that of the order
        self.shuffle = sampler.take("shuffle", loader.take("shuffle", True))
        self.drop_last = loader.take("drop_last", False)
        if split != "train":
            loader.only("drop_last", False)
        loader.close()

    def _clips(self, data: Section) -> ClipList | None:
        root = data.take("data_root", "")
        prefix = data.any("data_prefix")
        if isinstance(prefix, Table):
            within = data.sub("data_prefix")
            prefix = within.take("img" if self.frames else "video", "")
        elif not isinstance(prefix, (str, type(None))):
            raise data.wrong("data_prefix", "must be a folder")
        offset = data.take("with_offset", False)
        template = data.take("filename_tmpl", "") or None
        first = data.take("start_index", 1 if self.frames else 0)
        ann_file = data.take("ann_file", "")
        if not ann_file:
            return None
        kind: Any = ("frames-offset" if offset else "frames") if self.frames else "videos"
        joined = [str(Path(root, part)) if root and part else part for part in (ann_file, prefix or "")]
        return ClipList(joined[0], joined[1] or root, kind, template, first)


def _loaders(config: Section, version: int, *, for_training: bool) -> dict[str, Section | None]:
    """The data loader of each split. Without training: of the test, or if there is none of the validation."""
    if for_training:
        return {split: data_loader(config, split, version) for split in ("train", "val", "test")}
    if version == 0:
        config.sub("data").ignore("train", "val", "train_dataloader", "val_dataloader")
    test = data_loader(config, "test", version)
    return {"test": test} if test is not None else {"val": data_loader(config, "val", version)}


def data_loader(config: Section, split: str, version: int) -> Section | None:
    """The data loader of a split as 1.x has it; a 0.x config is brought to the same form."""
    if version == 1:
        loader = config.sub(f"{split}_dataloader")
        return loader if loader.table else None
    data = config.sub("data")
    data.ignore("persistent_workers")
    dataset, own = data.sub(split), data.sub(f"{split}_dataloader")
    for part in (dataset, own):  # the section below reads them
        part.ignore(*part.table)
    if not dataset.table:
        return None
    table = Table({"dataset": dataset.table}, {"dataset": dataset.place("type")})
    for key in ("videos_per_gpu", "workers_per_gpu"):
        if data.any(key) is not None:
            table[key], table.places[key] = data.any(key), data.place(key)
    table.update(own.table)
    table.places.update(own.table.places)
    loader = Section(table, f"data.{split}_dataloader" if own.table else "data", dataset.place("type"))
    loader.sub("dataset").path = f"data.{split}"
    return loader


def _testing(model: Model, parts: dict[str, _Split], config: Section) -> dict[str, Any]:
    """Preprocessing and protocol: those of the test, or if there is none of the validation."""
    split: str = "test" if "test" in parts else "val"
    if split not in parts:
        key, todo = ("test_dataloader", "val_dataloader") if version_of(config.table) else ("data.test", "data.val")
        raise config.wrong(key, "is missing, which has the test pipeline", f"add it, or {todo}")
    test, average = parts[split].pipeline, model.average or "prob"
    for part in parts.values():
        check_normalised(part.loader.sub("dataset"), part.pipeline.norm, model.norm)
        if (part.modality == "Flow") != (model.network["in_channels"] == 2):
            raise part.loader.sub("dataset").wrong("modality", "does not go with in_channels of the backbone")
    norm = model.norm or test.norm
    if any(part.pipeline.norm not in ({}, norm) for part in parts.values()):
        raise config.wrong("model", "and its pipelines must have one mean and standard deviation for all")
    pre = {**(test.scored() or _no_geometry(parts[split])), **norm}
    protocol = {**test.sampling, "crops": test.crops, "average": average}
    return {"preprocessing": pre, "protocol": protocol}


def _training(
    config: Section,
    model: Model,
    parts: dict[str, _Split],
    version: int,
    pre: dict[str, Any],
) -> dict[str, Any]:
    train = parts["train"]
    if config.any("resume") is True and "load_from" in config:
        why = "resumes the run of load_from, which is no run of i3d"
        raise config.wrong("resume", why, "write resume=False to start from its weights")
    fields = (read_training_1 if version else read_training_0)(config, multi_label=model.multi_label)
    load_from = config.take("load_from", "")
    fields |= {
        "init": load_from or model.init,
        "init_classifier": bool(load_from) or model.init_classifier,
        "input": "frames" if train.frames else "videos",
        "batch_size": train.batch_size,
        "sync_norms": bool(model.sync_norms_at),
        "loss": model.loss,
        "mixup": model.mixup,
        "balance": "classes" if train.balanced else "none",
        "shuffle": train.shuffle,
        "drop_last": train.drop_last,
        "sampling": train.pipeline.sampling,
        "augmentation": _augmentation(train),
    }
    if "val" in parts:
        validation = parts["val"].pipeline
        average = model.average or "prob"
        fields["validation"] = {**validation.sampling, "crops": validation.crops, "average": average}
        geometry = validation.scored() or _no_geometry(parts["val"])
        plain = {**pre, "short_side": pre["short_side"] and max(pre["short_side"], geometry["crop"])}
        if any(geometry[key] != plain[key] for key in ("steps", "short_side")):
            fields["validation_geometry"] = geometry
        fields["validation_crop"] = geometry["crop"]
    return fields


def _augmentation(train: _Split) -> dict[str, Any]:
    return {"flip": 0.0, **(train.pipeline.augmented() or _no_geometry(train))}


def _no_geometry(part: _Split) -> NoReturn:
    raise InputError(
        f"{part.loader.place('dataset')}: the pipeline does not bring frames to squares of one size; end its resizes "
        "and crops with Resize(scale=(224, 224), keep_ratio=False), or with a crop"
    )


def _check_rest(config: Section, version: int, *, for_training: bool) -> None:
    """Other names at the top level are variables, which MMAction2 ignores too; a likely typo is an error."""
    if version == 1:
        for key in ("val_cfg", "test_cfg"):
            loop = config.sub(key)
            loop.ignore("type")
            loop.only("fp16", False)
    config.close_parts()
    for key in ("resume_from", "resume") if for_training else ():
        if isinstance(config.any(key), str):
            raise config.wrong(key, "cannot be gone on with here", "write load_from to start from its weights")
    known = {*HARMLESS, *REFUSED, *REFUSED_IN_TRAINING, *TOP_KEYS[version]}
    for key in config.table.keys() - known:
        if near := get_close_matches(key, known, n=1, cutoff=0.9):
            raise config.wrong(key, "is not supported", f"did you mean {near[0]}?")
