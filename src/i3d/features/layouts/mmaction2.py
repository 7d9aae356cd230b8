"""MMAction2's localizers BSN and BMN: 100 rows of each video as .csv, their annotations, the lines of a configuration.

Row k of `NAME.csv` stands for the times from k / 100 to (k + 1) / 100 of feature_frame / duration_frame x
duration_second (`GenerateLocalizationLabels`; `post_processing` of the localizers counts units of 16 frames).
"""

from typing import Any, Final

from i3d.errors import counted
from i3d.features.layouts.layout import ARRAYS
from i3d.features.layouts.listed import SUBSETS, ListedVideo, Listing, SmallFiles, json_bytes, seconds_of
from i3d.features.layouts.rescale import NUM_ROWS, UNIT, covered_frames

CONFIG: Final = "config.py"
ALL: Final = "anet_anno_full.json"
FILES: Final = {subset: f"anet_anno_{split}.json" for split, subset in SUBSETS.items()}
GROUPS: Final = 4  # of the first convolution of BMN and TEM


def encode_mmaction2(listing: Listing) -> SmallFiles:
    """The annotations of each subset and of all, and the configuration."""
    entries = {video.name: _entry(video, listing) for video in listing.videos}
    contents = {ALL: json_bytes(entries)}
    left_out = []
    for subset, file in FILES.items():
        videos = listing.of_subset(subset)
        if subset != "testing":  # training and evaluation fail on a video without segments
            left_out += [video for video in videos if not video.segments]
            videos = [video for video in videos if video.segments]
        contents[file] = json_bytes({video.name: entries[video.name] for video in videos})
    notes = []
    if left_out:
        what = f"{counted(len(left_out), 'video')} without segments only in {ALL}"
        notes.append(f"{what}: MMAction2 cannot train or evaluate on them")
    channels = listing.shape[-1]
    if channels % GROUPS:
        notes.append(f"a row has {channels} numbers, and BMN and TEM need a multiple of {GROUPS}")
    return SmallFiles(
        {**contents, CONFIG: _config(listing).encode()},
        rows=f"temporal_dim={NUM_ROWS}, feat_dim={channels} (TEM: tem_feat_dim), feature_extraction_interval={UNIT}",
        notes=notes,
    )


def _entry(video: ListedVideo, listing: Listing) -> dict[str, Any]:
    seconds = seconds_of(video, listing.settings.fps)
    return {
        "duration_second": seconds,
        "duration_frame": video.num_frames,
        "annotations": [{"segment": [one.start, one.stop], "label": one.label} for one in video.segments],
        "feature_frame": covered_frames(video.num_frames),
        "fps": listing.settings.fps,
        "rfps": video.num_frames / seconds,
    }


def _config(listing: Listing) -> str:
    tested = FILES[listing.tested_on]
    files = {"train": FILES["training"], "val": tested, "test": tested}
    lines = [
        "# Features for the localizers of MMAction2, by i3d. Lines to put behind the _base_ of a configuration with",
        "# configs/localization/bmn/bmn_2xb8-400x100-9e_activitynet-feature.py (TEM of BSN: tem_feat_dim).",
        f"model = dict(feat_dim={listing.shape[-1]}, temporal_dim={NUM_ROWS})",
        f"features = dict(video={listing.path(ARRAYS)})",
    ]
    for part, file in files.items():
        dataset = f"dataset=dict(ann_file={listing.path(file)}, data_prefix=features)"
        lines.append(f"{part}_dataloader = dict({dataset})")
    return "\n".join(lines) + "\n"
