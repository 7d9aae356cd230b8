"""Send a published folder to the model hub."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi

from i3d.errors import InputError, WeightsError, abridged, first_line, printable
from i3d.publishing.folder import CONFIG, CONFUSION, EXPORTS, FORMAT, METRICS
from i3d.publishing.hub_names import check_repository
from i3d.publishing.model_card import CARD
from i3d.utils.arguments import checks_types
from i3d.utils.outputs import file_sha256
from i3d.weights.checkpoint import load_checkpoint
from i3d.weights.hub import FILE

SENT: Final = (FILE, CONFIG, CARD, METRICS, CONFUSION, *EXPORTS.values(), "model.bin")  # what `publish` writes
REQUIRED: Final = (FILE, CONFIG, CARD)


@dataclass(frozen=True)
class PushedModel:
    """What was sent."""

    repository: str
    address: str  # of the commit
    not_sent: tuple[str, ...]  # names in the folder that `publish` did not write


@checks_types
def push(folder: str | os.PathLike[str], repository: str, *, private: bool = False, message: str = "") -> PushedModel:
    """Send a folder of `publish` to `repository` (owner/name) of the hub as one commit; it is created if needed.

    The hub's library reads its token (HF_TOKEN) and its address (HF_ENDPOINT) from the environment. Only the files that
    `publish` writes are sent.

    Raises:
        InputError: for a folder that `publish` did not write, whose weights were changed since, and for an error of
            the hub: no network, no token, no right.
    """
    check_repository("repository", repository)
    path = Path(folder)
    _check_folder(path)
    others = tuple(sorted(printable(inside.name) for inside in path.iterdir() if inside.name not in SENT))
    hub = HfApi(library_name="i3d")
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=path,
            allow_patterns=list(SENT),
            commit_message=message or f"Publish {path.absolute().name}",
        )
    except Exception as error:  # the client has errors of several libraries: no network, no token, no right
        todo = "check the network and the token (HF_TOKEN, or `hf auth login`)"
        raise InputError(
            f"{repository}: cannot be sent to the hub ({first_line(error).rstrip('.')}); {todo}"
        ) from error
    return PushedModel(repository, str(commit.commit_url), others)


def _check_folder(folder: Path) -> None:
    """An InputError for a folder that `publish` did not write completely, or whose weights were changed."""
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        todo = "give a folder that `i3d publish` wrote"
        raise InputError(f"{printable(str(folder))}: has no {abridged(missing, 3)}; {todo}")
    config = read_config(folder)
    if file_sha256(folder / FILE) != config["weights"]["sha256"]:
        what = f"{FILE} is not the one that {CONFIG} describes"
        raise InputError(f"{printable(str(folder))}: {what}; publish the model again")
    try:
        load_checkpoint(folder / FILE)
    except WeightsError as error:
        raise InputError(str(error)) from error


def read_config(folder: Path) -> Mapping[str, Any]:
    """The `config.json` of a published model. That of another library is an InputError."""
    where = printable(str(folder / CONFIG))
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
    except ValueError as error:
        raise InputError(f"{where}: is no JSON ({first_line(error)}); publish the model again") from error
    weights = config.get("weights") if isinstance(config, dict) else None
    if not isinstance(weights, dict) or config.get("format") != FORMAT or not isinstance(weights.get("sha256"), str):
        raise InputError(f"{where}: is not of a model that `i3d publish` wrote; publish the model with it")
    return config
