"""ActionFormer: (rows, channels) as .npy, ActivityNet's JSON with class numbers, the lines of its YAML.

Its data sets place second t at row (t x fps - num_frames / 2) / feat_stride (`libs/datasets/anet.py`).
"""

from dataclasses import replace
from typing import Final

from i3d.errors import counted, printable
from i3d.features.layouts.layout import ARRAYS
from i3d.features.layouts.listed import VERSION, ListedVideo, Listing, SmallFiles, json_bytes, seconds_of

ANNOTATIONS: Final = "annotations.json"
CONFIG: Final = "config.yaml"


def encode_actionformer(listing: Listing) -> SmallFiles:
    """The annotations and the configuration."""
    fps = listing.settings.fps
    assert fps is not None
    row, stride = listing.first_row, listing.settings.stride
    num_frames = row.first + row.stop  # twice the middle of the first row

    def is_usable(video: ListedVideo) -> bool:
        """Training fails on a video without a segment that begins before the end of its rows."""
        end = (len(video.rows) * stride + num_frames / 2) / fps
        return video.subset != "training" or any(one.start < end for one in video.segments)

    videos = tuple(filter(is_usable, listing.videos))
    notes = []
    if useless := [video for video in listing.videos if not is_usable(video)]:
        what = f"{counted(len(useless), 'training video')} without segments within its rows not listed"
        notes.append(f"{what}, such as {printable(useless[0].name)}: ActionFormer cannot train on them")
    classes = replace(listing, videos=videos).classes
    database = {
        video.name: {
            "subset": video.subset,
            "duration": seconds_of(video, fps),
            "fps": fps,
            "annotations": [
                {"segment": [one.start, one.stop], "label": one.label, "label_id": classes.index(one.label)}
                for one in video.segments
            ],
        }
        for video in videos
    }
    lines = [
        "# Features for ActionFormer, by i3d. The other settings: configs/thumos_i3d.yaml of ActionFormer.",
        "# Its data set anet reads rows of any number and every class; thumos leaves class 4 out.",
        "dataset_name: anet",
        "train_split: ['training']",
        f"val_split: ['{listing.tested_on}']",
        "dataset: {",
        f"  json_file: {listing.path(ANNOTATIONS)},",
        f"  feat_folder: {listing.path(ARRAYS)},",
        "  file_prefix: ~,",
        "  file_ext: .npy,",
        f"  num_classes: {max(len(classes), 1)},",
        f"  input_dim: {listing.shape[-1]},",
        f"  feat_stride: {stride},",
        f"  num_frames: {num_frames},",
        f"  default_fps: {fps:g},",
        "}",
    ]
    return SmallFiles(
        {
            ANNOTATIONS: json_bytes({"version": VERSION, "database": database}),
            CONFIG: ("\n".join(lines) + "\n").encode(),
        },
        rows=f"feat_stride: {stride}, num_frames: {num_frames}, default_fps: {fps:g}, input_dim: {listing.shape[-1]}",
        notes=notes,
    )
