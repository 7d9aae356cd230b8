"""Features in the layout of a code base: the arrays of all videos in one folder, and the small files beside it.

out/features/clip.npy      the array, and clip.json: how it was made
out/annotations.json ...   what the code reads beside it, of the videos that have features
out/.i3d-layout.json       which of these files are ours: one that was edited since is not replaced
"""

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from i3d.data.formats.inputs import VIDEO_SUFFIXES, expand_inputs, path_below
from i3d.data.resume import read_record
from i3d.data.segments.segment import VideoSegments
from i3d.errors import InputError, abridged, check_not_empty, counted, is_utf8, printable
from i3d.features.extract import ExtractResult, extract_each
from i3d.features.extractor import FeatureExtractor, Row
from i3d.features.layouts.actionformer import encode_actionformer
from i3d.features.layouts.layout import ARRAYS, Layout, arrangement, array_format, check_layout, name_in_layout
from i3d.features.layouts.listed import SUBSETS, Encoder, ListedVideo, Listing, SmallFiles, describe_subsets, seconds_of
from i3d.features.layouts.mmaction2 import encode_mmaction2
from i3d.features.layouts.opentad import encode_opentad
from i3d.features.layouts.rtfm import encode_rtfm
from i3d.features.layouts.truth import cut_to_length, match_truth, read_sources
from i3d.features.sidecar import FeatureFile, read_sidecar
from i3d.recipes.features import FeatureSettings
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically
from i3d.utils.outputs import check_recorded, locked_output, output_folder, recorded, recorded_files
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import Limits

RECORD: Final = ".i3d-layout.json"
FORMAT: Final = "i3d layout"
ENCODERS: Final[Mapping[Layout, Encoder]] = {
    "actionformer": encode_actionformer,
    "opentad": encode_opentad,
    "rtfm": encode_rtfm,
    "mmaction2-localizer": encode_mmaction2,
}
TODO: Final = "move it away, or replace it with --force"
ALL_TRAIN: Final = "training"  # the subset of annotated videos without one
UNKNOWN_RATE: Final = 25.0  # frames a second, for tolerances alone, where the rate is that of each video
log = logging.getLogger("i3d")


@dataclass(frozen=True)
class LayoutPlan:
    """What will be written: checked, before any network is loaded."""

    layout: Layout
    settings: FeatureSettings
    out: Path
    targets: tuple[FeatureFile, ...]
    truth: Mapping[str, VideoSegments]  # of videos by their path
    has_truth: bool
    notes: tuple[str, ...]
    force: bool

    def extractor(self, extractor: FeatureExtractor) -> FeatureExtractor:
        """The extractor, whose files name the layout."""
        return replace(extractor, made_with={**extractor.made_with, "layout": self.layout})

    def extract(
        self,
        extractor: FeatureExtractor,
        *,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Iterator[ExtractResult]:
        """Write the array of each video, and yield each outcome; under torchrun a fraction of the videos."""
        return extract_each(
            self.targets,
            self.extractor(extractor),
            array_format(self.layout),
            force=self.force,
            limits=limits,
            arrange=arrangement(self.layout, self.settings),
            on_progress=on_progress,
        )

    def write(self, unreadable: Collection[str]) -> SmallFiles | None:
        """Write the small files; None if no video has features. `unreadable`: the paths of videos without features."""
        targets = [target for target in self.targets if target.video not in unreadable]
        if not targets:
            return None
        with locked_output(str(self.out / RECORD), self.out / RECORD, waits=True):
            listing, notes = self._listing(targets)
            if not listing.videos:
                return SmallFiles({}, "", [*notes, "no annotated video has features: nothing is listed"])
            files = ENCODERS[self.layout](listing)
            record = check_own(self.out, self.layout, files.contents, force=self.force)
            if record is None:
                content = {"format": FORMAT, "version": 1, "layout": self.layout}
                write_atomically(self.out / RECORD, (json.dumps(content) + "\n").encode())
            with recorded_files(self.out, self.out / RECORD) as folder:
                for name, part in files.contents.items():
                    write_atomically(folder / name, part)
        log.info("%s in %s; %s", describe_subsets(listing), printable(str(self.out)), files.rows)
        return replace(files, notes=[*notes, *files.notes])

    def _listing(self, targets: Sequence[FeatureFile]) -> tuple[Listing, list[str]]:
        """The videos to list, and notes on what was changed or left out."""
        videos, notes, absent, shape = [], [], [], (0,)
        fps = self.settings.fps
        for target in targets:
            sidecar = read_sidecar(target.sidecar) or {}
            truth = self.truth.get(target.video)
            if self.has_truth and truth is None:
                absent.append(target.video)
                continue
            video = _listed(target, sidecar)
            if truth is not None:
                truth, of_video = cut_to_length(truth, seconds_of(video, fps), 1 / (fps or UNKNOWN_RATE))
                notes += [f"{printable(target.video)}: {note}" for note in of_video]
                subset = SUBSETS[truth.split] if truth.split else ALL_TRAIN
                video = replace(video, subset=subset, segments=truth.segments)
            videos.append(video)
            shape = tuple(sidecar["shape"][1:])
        if num_bad := len(self.targets) - len(targets):
            notes.append(f"{counted(num_bad, 'video')} without features not listed")
        if absent:
            what = f"{counted(len(absent), 'video')} without annotations, such as {printable(absent[0])}"
            notes.append(f"{what}: not listed; annotate them, without segments if nothing happens in them")
        listing = Listing(Path(os.path.abspath(self.out)), tuple(videos), self.settings, shape, self.has_truth)  # noqa: PTH100
        return listing, notes


def plan_layout(
    layout: Layout,
    settings: FeatureSettings,
    sources: Sequence[str],
    out: Path,
    *,
    segments: Path | None = None,
    force: bool = False,
) -> LayoutPlan:
    """Check all that can be checked before a network is loaded: settings, names, annotations, existing files."""
    check_layout(layout, settings)
    read = read_sources(sources, segments)
    targets = _targets(layout, read.videos, output_folder("out", out))
    truth, others = match_truth(read.truth, {target.base.name: target.video for target in targets})
    if read.has_truth and not truth:
        first = f", such as {printable(read.truth[0].video)}" if read.truth else ""
        raise InputError(f"the annotations are of none of these videos{first}; name the videos as they do")
    notes = [*read.notes]
    if others:
        names = abridged([printable(video.video) for video in others], 3)
        notes.append(f"{counted(len(others), 'annotated video')} not among those given: {names}; not listed")
    if without := sum(not video.split for video in truth.values()):
        notes.append(f"{counted(without, 'annotated video')} without a split: listed as {ALL_TRAIN}")
    check_own(Path(out), layout, _names_of_files(layout, settings), force=force)
    return LayoutPlan(layout, settings, Path(out), tuple(targets), truth, read.has_truth, tuple(notes), force)


@checks_types
def extract_layout(
    layout: Layout,
    sources: Sequence[str],
    out: Path,
    extractor: FeatureExtractor,
    *,
    segments: Path | None = None,
    force: bool = False,
    limits: Limits | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[ExtractResult, ...]:
    """Write features, and the files that a code base reads beside them, and return the outcome of each video.

    `sources`: videos, folders, patterns, lists; lists with segments are annotations too. `segments`: a file of
    annotations. The extractor has the settings of the layout (`layout_settings`), or others, which the written
    configuration states. What a layout cannot hold is an InputError; what is left out is logged as a warning.
    """
    for source in sources:
        check_not_empty(source=source)
    plan = plan_layout(layout, extractor.settings, sources, out, segments=segments, force=force)
    for note in plan.notes:
        log.warning(note)
    results = tuple(plan.extract(extractor, limits=limits, on_progress=on_progress))
    files = plan.write({row.target.video for row in results if row.error})
    for note in files.notes if files else ():
        log.warning(note)
    return results


def check_own(out: Path, layout: Layout, names: Collection[str], *, force: bool) -> dict[str, Any] | None:
    """The record of a folder, None if it has none. Files that are not ours are an InputError."""
    record = read_record(out / RECORD)
    if record is not None and (record.get("format") != FORMAT or record.get("layout") != layout):
        what = f"holds the layout {record.get('layout')}" if record.get("format") == FORMAT else "is damaged"
        raise InputError(f"{out / RECORD}: {what}; choose another --out")
    for name in names:
        path = out / name
        if path.is_symlink() or path.is_dir():
            raise InputError(f"{path}: is a {'link' if path.is_symlink() else 'folder'}; move it away")
        if not force:
            check_recorded(path, recorded(record, name), todo=TODO)
    return record


def _targets(layout: Layout, sources: Sequence[str], out: Path) -> list[FeatureFile]:
    """The array of each video: in one folder, by its name. Two videos of one name are an InputError."""
    kind = array_format(layout)
    videos: dict[str, str] = {}
    for source in sources:
        for path in expand_inputs([source]):
            below = path_below(source, path)
            name = name_in_layout(layout, below.stem if below.suffix.lower() in VIDEO_SUFFIXES else below.name)
            if not is_utf8(name):
                raise InputError(f"{printable(path)}: its name is not UTF-8, which these files need; rename it")
            if videos.setdefault(name, path) != path:
                what = f"both are {name} in the layout {layout}, which has one folder"
                raise InputError(f"{printable(path)} and {printable(videos[name])}: {what}; rename one")
    return [FeatureFile(path, out / ARRAYS / name, kind) for name, path in videos.items()]


def _names_of_files(layout: Layout, settings: FeatureSettings) -> list[str]:
    """The names of the small files: those of a listing without videos."""
    shape = (1, 4) if layout == "rtfm" else (4,)
    return [*ENCODERS[layout](Listing(Path(), (), settings, shape, has_truth=False)).contents]


def _listed(target: FeatureFile, sidecar: Mapping[str, Any]) -> ListedVideo:
    """A video with features, by the JSON beside its array; not annotated."""
    if "rows" not in sidecar:
        raise InputError(f"{target.sidecar}: another program changed it meanwhile; run the same command again")
    rows = sidecar["rows"]
    return ListedVideo(
        target.base.name,
        Path(os.path.abspath(target.values)),  # noqa: PTH100 (keeps links)
        sidecar["num_frames"],
        tuple(Row(row["first"], row["stop"]) for row in rows),
        tuple((row["start_seconds"], row["end_seconds"]) for row in rows),
        SUBSETS["test"],
        (),
    )
