"""Weights of a training run that is named by its folder."""

import logging
from pathlib import Path
from typing import Final

from i3d.errors import InputError, abridged, printable

RUN: Final = "run.json"  # the record of training by a recipe, or of layers
FINETUNE: Final = "finetune.json"  # the record of fine-tuning
BEST, LAST = "best.safetensors", "last.safetensors"
PUBLISHED: Final = "model.safetensors"  # of a folder that `i3d publish` wrote
SUFFIXES: Final = (".pth", ".pt", ".pyth", ".ckpt", ".safetensors", ".index")  # of files that may be weights
log = logging.getLogger("i3d")


def is_run(folder: Path) -> bool:
    """Whether a folder has the record of a run."""
    return any((folder / name).is_file() for name in (RUN, FINETUNE))


def run_weights(folder: Path) -> Path:
    """The weights of the run in a folder: the best of its validations, or the last if there were none.

    Those of a published model have their own name.
    A folder without such a file is an InputError with what to name instead.
    """
    path = next((path for path in (folder / BEST, folder / LAST, folder / PUBLISHED) if path.is_file()), None)
    if path is not None:
        return path
    where = printable(str(folder))
    if is_run(folder):
        what = f"this run has no weights yet; its first validation, or its end, writes {BEST} or {LAST}"
        raise InputError(f"{where}: {what}: resume it by the command that started it")
    if is_run(folder.absolute().parent):
        raise InputError(f"{where}: is a part of the run in {printable(str(folder.absolute().parent))}; name that run")
    inside = sorted(folder.iterdir())
    if runs := [path.name for path in inside if path.is_dir() and ((path / BEST).is_file() or is_run(path))]:
        raise InputError(f"{where}: is no run, but holds runs ({abridged(runs, 3)}); name one of them")
    if files := [path.name for path in inside if path.suffix in SUFFIXES]:
        raise InputError(f"{where}: is no run of i3d; name a file in it ({abridged(files, 3)})")
    raise InputError(f"{where}: is no run, and holds no weights; give a weights file, or the --work-dir of a run")


def log_run_weights(folder: Path, path: Path) -> None:
    """Log which file the folder of a run stands for."""
    if path.name == PUBLISHED:
        return
    why = "" if path.name == BEST else ": the run validated nothing"
    log.info("%s: the weights of this run are its %s%s", printable(str(folder)), path.name, why)
