"""Sets that are features already: a file of rows, or a folder that `i3d features` wrote.

Letters in names: N rows, D numbers of a feature.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from i3d.data.resume import changed_settings
from i3d.errors import InputError, abridged
from i3d.features.compare import read_features
from i3d.features.sidecar import read_sidecar
from i3d.utils.outputs import file_sha256

FEATURE_SUFFIXES: Final = frozenset({".h5", ".hdf5", ".parquet"})  # beside .npy and .npz
WIDTHS: Final = {400: "logits", 1024: "pooled"}  # numbers of a row of the shipped network


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """Features (N, D) float32 of a set, and how they were made, as far as a sidecar records it."""

    name: str
    rows_ND: npt.NDArray[np.float32]
    sha256: str
    made_with: Mapping[str, Any] | None = None

    @property
    def origin(self) -> str:
        """How the features were made, in a few words."""
        if self.made_with is None:
            return "features of unknown protocol"
        settings = self.made_with.get("settings") or {}
        known = ", ".join(f"{name} {settings.get(name)}" for name in ("layer", "window", "stride", "fps"))
        return f"features of i3d ({known})"


def feature_rows(path: Path) -> FeatureSource:
    """The rows of a file of features, with its sidecar if it has one."""
    rows = read_features(path)
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise InputError(f"{path}: {rows.dtype} of shape {rows.shape}; features are floats of shape (N, D)")
    record = read_sidecar(path.with_suffix(".json"))
    made_with = None if record is None else record["made_with"]
    return FeatureSource(str(path), as_rows(rows, str(path)), file_sha256(path), made_with)


def as_rows(array_ND: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Rows as float32; none, and values that are not finite as such, are an InputError."""
    with np.errstate(over="ignore"):
        rows_ND = np.asarray(array_ND, np.float32)
    if not rows_ND.size or not np.isfinite(rows_ND).all():
        raise InputError(f"{name}: {array_ND.dtype} of shape {array_ND.shape} are not rows of finite float32 numbers")
    return rows_ND


def features_in(folder: Path, files: Sequence[Path]) -> FeatureSource | None:
    """The rows of all files below a folder that `i3d features` wrote; None: these are no such files."""
    sidecars = [read_sidecar(path.with_suffix(".json")) for path in files]
    if not any(sidecars):
        return None
    if foreign := [str(path) for path, record in zip(files, sidecars, strict=True) if record is None]:
        raise InputError(
            f"{folder}: has features with and without a .json ({abridged(foreign, 3)}); keep one kind in it"
        )
    sources = [feature_rows(path) for path in files]
    first = sources[0]
    for source in sources[1:]:
        check_same_origin(first, source)
        if source.rows_ND.shape[1] != first.rows_ND.shape[1]:
            raise InputError(
                f"{source.name}: has rows of {source.rows_ND.shape[1]} numbers, {first.name} of "
                f"{first.rows_ND.shape[1]}; extract both with the same settings"
            )
    digest = hashlib.sha256(" ".join(source.sha256 for source in sources).encode()).hexdigest()
    return FeatureSource(str(folder), np.concatenate([s.rows_ND for s in sources]), digest, first.made_with)


def check_same_origin(one: FeatureSource, other: FeatureSource) -> None:
    """An InputError if two sidecars record different settings; versions of packages may differ."""
    if one.made_with is None or other.made_with is None:
        return
    changes = [c for c in changed_settings(one.made_with, other.made_with) if not c[0].startswith("versions")]
    if changes:
        name, before, now = changes[0]
        raise InputError(f"{other.name}: was made with {name} {now}, {one.name} with {before}; extract both alike")


def check_widths(sources: Sequence[FeatureSource], *, features: str, num_logits: int | None = None) -> None:
    """An InputError for rows that are not what the protocol compares, or of different widths."""
    for source in sources:
        width = source.rows_ND.shape[1]
        kind = WIDTHS.get(width)
        if kind not in (None, features):
            todo = f"--features {kind}" + (", which is another metric than FVD" if kind == "pooled" else "")
            raise InputError(
                f"{source.name}: has rows of {width} numbers, which are {kind}, not {features}; pass {todo}"
            )
        if num_logits is not None and width != num_logits:
            raise InputError(
                f"{source.name}: has rows of {width} numbers, the network gives {num_logits}; "
                "use features of the same network and layer"
            )
    widths = {source.rows_ND.shape[1]: source.name for source in sources}
    if len(widths) > 1:
        each = " and ".join(f"{name} of {width}" for width, name in widths.items())
        raise InputError(f"rows of different features: {each} numbers; extract both from one layer of one network")
