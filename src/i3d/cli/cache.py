"""`i3d cache list` and `i3d cache clear`."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from i3d.cli import options as shared
from i3d.cli import output
from i3d.cli.limits import Within
from i3d.cli.messages import log
from i3d.cli.usage import FLAGS, command
from i3d.errors import InputError, counted, printable
from i3d.utils.cache_files import (
    ABOUT,
    KINDS,
    CacheContent,
    CacheFile,
    Kind,
    cache_content,
    default_folder,
    remove_files,
    select_files,
)

Folder = Annotated[Path | None, Parameter(group=shared.INPUT, help="Folder of the cache (default: $I3D_CACHE).")]

app = App(
    name="cache",
    help="Show or clear the cache of computed flow, features and networks.",
    default_parameter=FLAGS,
    help_epilogue="Examples:\n  i3d cache list\n  i3d cache clear flow --older-than 30",
)


def list_(*, cache: Folder = None, json: shared.Json = False) -> None:
    """List what the cache holds.

    The table has the number, size and last use of the files of each kind. All of them are computed again when they are
    missing.

    Examples:
      i3d cache list
    """
    content = cache_content(_folder(cache))
    if json:
        kinds = {kind: _summary([file for file in content.files if file.kind == kind]) for kind in KINDS}
        output.print_json({"folder": str(content.folder), "kinds": kinds, "other_files": content.num_others})
        return
    _print(content)


def clear(
    *kinds: Annotated[Kind, Parameter(group=shared.INPUT, help="What to remove (default: all).")],
    cache: Folder = None,
    older_than: Annotated[
        float, Parameter(group=shared.INPUT, validator=Within(0, 100_000), help="Only what was not used for N days.")
    ] = 0.0,
    yes: Annotated[bool, Parameter(group=shared.OUTPUT, help="Remove without a question.")] = False,
    json: shared.Json = False,
) -> int:
    """Remove files of the cache; what they held is computed again.

    On a terminal it asks first. Files that are not of the cache stay, and so do files that a running process reads or
    writes.

    Examples:
      i3d cache clear
      i3d cache clear flow features --older-than 30 --yes
    """
    content = cache_content(_folder(cache))
    files = select_files(content, kinds, older_than_days=older_than, now=time.time())
    if files and not yes and not _confirmed(content, files):
        log.info("nothing was removed")
        return 0
    removal = remove_files(files)
    if json:
        output.print_json({"folder": str(content.folder), **asdict(removal)})
    for line in removal.failed:
        log.error(printable(line))
    if removal.in_use:
        log.warning("%s: in use by a running process, and not removed", counted(len(removal.in_use), "file"))
    what = f"{counted(removal.num_files, 'file')}, {_megabytes(removal.num_bytes)} MB"
    log.info("removed %s, in %s", what, printable(str(content.folder)))
    return 1 if removal.failed else 0


def _folder(cache: Path | None) -> Path:
    return default_folder() if cache is None else cache


def _print(content: CacheContent) -> None:
    rows: list[list[str]] = []
    for kind in KINDS:
        files = [file for file in content.files if file.kind == kind]
        if files:
            rows.append([kind, f"{len(files):,}", _size_of(files), _last_use(files), ABOUT[kind]])
    if rows:
        total = ["all", f"{len(content.files):,}", _size_of(content.files), _last_use(content.files), ""]
        output.print_table(("kind", "files", "MB", "last use", "what"), rows, last=total)
    place = printable(str(content.folder))
    log.info("the cache %s %s", "is" if rows else "is empty:", place)
    if content.num_others:
        others = counted(content.num_others, "other file or folder", "other files or folders")
        log.info("%s in it, which `i3d cache clear` does not remove", others)


def _confirmed(content: CacheContent, files: list[CacheFile]) -> bool:
    """Whether the user agrees. Without a terminal nobody can be asked, which is an InputError."""
    what = f"{counted(len(files), 'file')} ({_size_of(files)} MB) of {printable(str(content.folder))}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"i3d cache clear: would remove {what}; confirm with --yes")
    print(f"Remove {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _summary(files: list[CacheFile]) -> dict[str, Any]:
    last = max((file.last_used for file in files), default=None)
    return {"files": len(files), "bytes": sum(file.num_bytes for file in files), "last_used": last}


def _size_of(files: list[CacheFile] | tuple[CacheFile, ...]) -> str:
    return _megabytes(sum(file.num_bytes for file in files))


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f}"


def _last_use(files: list[CacheFile] | tuple[CacheFile, ...]) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(max(file.last_used for file in files)))


app.command(command(list_, "list"))
app.command(command(clear, "clear"))
