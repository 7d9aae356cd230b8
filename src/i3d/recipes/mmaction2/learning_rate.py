"""How many clips in a step the learning rate of a config is for: it is scaled to those of a run, or used as it is."""

from typing import Final, NamedTuple

from i3d.recipes.mmaction2.section import Section
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.named import RECIPES
from i3d.recipes.recipe import Recipe
from i3d.recipes.training import Training

VALIDATION: Final = ("validation", "validation_crop", "validation_geometry", "validate_every", "best_by")
DEVICES: Final = 8  # published configs are for eight, unless they set auto_scale_lr


class Written(NamedTuple):
    """A config: its variables, and the recipe that they are."""

    table: Table
    recipe: Recipe


def check_scaling(config: Section, *, for_training: bool) -> None:
    """Check `auto_scale_lr`, which only training reads."""
    scaling = config.sub("auto_scale_lr")
    if not for_training:
        scaling.ignore(*scaling.table)
        return
    scaling.take("enable", False)
    if scaling.take("base_batch_size", 1) < 1:
        raise scaling.wrong("base_batch_size", "must be at least 1", "write base_batch_size=64")


def lr_batch(before: Written, after: Written, *, is_forced: bool = False, sets_lr: bool = False) -> tuple[int, str]:
    """(clips of a step that a learning rate is for, 0 if it is meant as it stands; why, for the log).

    It is for a number of clips if the config turns on `auto_scale_lr`, if the run that wrote the config saved its
    `gpu_ids`, or if the recipe is a published one; `is_forced`: in any case. `after` has the `--cfg-options`, which
    change the batch and not what the learning rate is for, unless one `sets_lr`.
    """
    assert before.recipe.training is not None
    assert after.recipe.training is not None
    lr, size = after.recipe.training.optimizer.lr, _scaling(after.table).get("base_batch_size")
    # MMEngine does not count the batches that are accumulated, a run of i3d does.
    base_batch, of_batch = _meant_batch(before, size and size * after.recipe.training.accumulate)
    if _scaling(after.table).get("enable") is True:
        why = "auto_scale_lr.enable=True"
    elif is_forced:
        why = f"--auto-scale-lr; {of_batch}"
    elif sets_lr:
        return 0, f"the learning rate {lr:g} is used as it is: --cfg-options sets it; --auto-scale-lr scales it"
    elif gpu_ids := _gpu_ids(before.table):
        base_batch, why = _batch_of_run(before, len(gpu_ids))
    elif published := published_name(before.recipe):
        base_batch = size or base_batch
        why = f"it is that of the published recipe {published}"
    else:
        return 0, (
            f"the learning rate {lr:g} is used as it is: the config is no published recipe; --auto-scale-lr of "
            f"tools/train.py, or --set training.base_batch={base_batch} of `i3d train`, scales it"
        )
    return base_batch, _scaled(base_batch, why)


def published_batch(recipe: Recipe) -> str:
    """Why the learning rate of a published recipe is scaled or not, for the log."""
    assert recipe.training is not None
    base_batch, lr = recipe.training.base_batch, recipe.training.optimizer.lr
    if not base_batch:
        return f"the learning rate {lr:g} is used as it is: so does the published recipe {recipe.name}"
    why = f"it is that of the published recipe {recipe.name}"
    return _scaled(base_batch, why)


def _scaled(base_batch: int, why: str) -> str:
    return f"the learning rate is for {base_batch} clips in a step; with more or fewer it is scaled linearly ({why})"


def published_name(recipe: Recipe) -> str:
    """The published recipe that trains and tests alike; "" if there is none. Its name and validation may differ."""
    same = _compared(recipe)
    names = (name for name, one in RECIPES.items() if _compared(one) == same.model_copy(update={"name": name}))
    return next(names, "")


def _compared(recipe: Recipe) -> Recipe:
    """The recipe without what has no influence on the learning rate."""
    if recipe.training is None:
        return recipe
    plain = {key: Training.model_fields[key].default for key in ("base_batch", *VALIDATION)}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=plain)})


def with_base_batch(recipe: Recipe, base_batch: int) -> Recipe:
    if recipe.training is None:
        return recipe
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"base_batch": base_batch})})


def _meant_batch(before: Written, given: int | None) -> tuple[int, str]:
    """(clips of a step that a learning rate is scaled from, their source); `given`: by `auto_scale_lr`."""
    if given:
        return given, "auto_scale_lr.base_batch_size"
    if gpu_ids := _gpu_ids(before.table):
        return _batch_of_run(before, len(gpu_ids))
    return _batch_of_run(before, DEVICES)[0], f"{DEVICES} GPUs, as published configs are for"


def _batch_of_run(written: Written, gpus: int) -> tuple[int, str]:
    """(clips of a step of the run that wrote a config, the same in words)."""
    training = written.recipe.training
    assert training is not None
    clips = f"{gpus} x {training.batch_size}"
    if training.accumulate > 1:
        clips += f" x {training.accumulate} accumulated"
    words = f"gpu_ids: the run that wrote the config had {clips} clips in a step"
    return gpus * training.batch_size * training.accumulate, words


def _scaling(table: Table) -> Table:
    scaling = table.get("auto_scale_lr")
    return scaling if isinstance(scaling, Table) else Table()


def _gpu_ids(table: Table) -> list[int]:
    """The GPUs of the run of 0.x that wrote a config."""
    gpu_ids = table.get("gpu_ids")
    return gpu_ids if isinstance(gpu_ids, list) else []
