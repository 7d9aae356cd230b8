"""Features as bytes in common formats: NumPy's, HDF5, Parquet."""

import importlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError, first_line
from i3d.features.extractor import VideoFeatures
from i3d.utils.text import refuse_endless

FileFormat = Literal["npy", "npz", "h5", "parquet", "csv"]
FORMATS: Final[tuple[FileFormat, ...]] = get_args(FileFormat)[:-1]  # CSV is what one layout of heads has
CHOICES: Final = " or ".join(f".{kind}" for kind in FORMATS)
NEEDS: Final = {"h5": "h5py", "parquet": "pyarrow.parquet"}
SHAPE: Final = b"i3d.shape"  # of a row, in the metadata of a Parquet file


def check_format(kind: str) -> None:
    """An unknown format, or one whose library is missing, is an InputError."""
    if kind not in FORMATS:
        raise InputError(f"--array-format {kind!r}: is not one of {', '.join(FORMATS)}")
    if kind in NEEDS:
        _library(kind)


def array_bytes(features: VideoFeatures, kind: FileFormat) -> bytes:
    """A file of features: the array alone (npy, csv), or with the frames and seconds of each row."""
    content, rows_R2, seconds_R2 = io.BytesIO(), np.array(features.rows, np.int64), np.array(features.seconds)
    match kind:
        case "npy":
            np.save(content, features.values)
        case "npz":
            np.savez(content, features=features.values, rows=rows_R2, seconds=seconds_R2)
        case "h5":
            with _library(kind).File(content, "w") as file:
                for name, values in (("features", features.values), ("rows", rows_R2), ("seconds", seconds_R2)):
                    file.create_dataset(name, data=values, track_times=False)
        case "parquet":
            _write_parquet(content, features.values, rows_R2, seconds_R2)
        case "csv":
            names = ",".join(f"f{column}" for column in range(features.values.shape[1]))
            np.savetxt(content, features.values, fmt="%.9g", delimiter=",", header=names, comments="")
    return content.getvalue()


def read_array(path: Path) -> npt.NDArray[Any]:
    """The only array of a file in any of these formats, of i3d or other tools, or the one named `features`."""
    kind = path.suffix.lower().removeprefix(".")
    try:
        refuse_endless(path)
        content = path.read_bytes()
        match "h5" if kind in ("hdf5", "hdf") else kind:
            case "h5":
                with _library("h5").File(io.BytesIO(content), "r") as file:
                    return np.asarray(file[_features_in(list(file))][()])
            case "parquet":
                return _read_parquet(content)
            case _:
                loaded = np.load(io.BytesIO(content), allow_pickle=False)
                return loaded if isinstance(loaded, np.ndarray) else np.asarray(loaded[_features_in(loaded.files)])
    except OSError as error:
        why = error.strerror or first_line(error)
        raise InputError(f"{path}: cannot be read ({why}); give a {CHOICES}") from error
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        objects = "Python objects, which are not read" if content.startswith(b"\x93NUMPY") else "not an array"
        why = objects if "allow_pickle" in str(error) else first_line(error)
        raise InputError(f"{path}: no features ({why}); give a {CHOICES}") from error


def _write_parquet(content: io.BytesIO, values: Any, rows_R2: Any, seconds_R2: Any) -> None:
    """A line for each row: first, stop, start_seconds, end_seconds, and the numbers as a list of one length."""
    parquet = _library("parquet")
    arrow = importlib.import_module("pyarrow")
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    table = arrow.table(
        {
            "first": rows_R2[:, 0],
            "stop": rows_R2[:, 1],
            "start_seconds": seconds_R2[:, 0],
            "end_seconds": seconds_R2[:, 1],
            "features": arrow.FixedSizeListArray.from_arrays(flat.reshape(-1), flat.shape[1]),
        }
    )
    shape = json.dumps(list(values.shape[1:])).encode()
    parquet.write_table(table.replace_schema_metadata({SHAPE: shape}), content)


def _read_parquet(content: bytes) -> npt.NDArray[Any]:
    table = _library("parquet").read_table(io.BytesIO(content))
    column = table.column("features").combine_chunks()
    shape = json.loads((table.schema.metadata or {}).get(SHAPE, b"[-1]"))
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(table), *shape)


def _library(kind: str) -> Any:
    try:
        return importlib.import_module(NEEDS[kind])
    except ImportError as error:
        what = NEEDS[kind].split(".")[0]
        raise InputError(f"{kind} files need {what}, which is not installed; pip install 'i3d[scale]'") from error


def _features_in(names: list[str]) -> str:
    """The array that is called features, or the only one."""
    if "features" not in names and len(names) != 1:
        raise ValueError(f"it holds {', '.join(names[:5]) or 'nothing'}, and none is called features")
    return "features" if "features" in names else names[0]
