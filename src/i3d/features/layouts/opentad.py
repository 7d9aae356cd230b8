"""OpenTAD: (rows, channels) as .npy, ActivityNet's JSON with numbers of frames, the list of classes, its configuration.

Its data sets of THUMOS place second t at row (t / duration x frame - offset_frames) / feature_stride
(`opentad/datasets/thumos.py`); frame / duration is therefore the rate by which the rows count.
"""

from typing import Final

from i3d.errors import InputError, quoted
from i3d.features.layouts.layout import ARRAYS
from i3d.features.layouts.listed import VERSION, Listing, SmallFiles, json_bytes, seconds_of

ANNOTATIONS: Final = "annotations.json"
CLASSES: Final = "category_idx.txt"
CONFIG: Final = "config.py"
IGNORED: Final = "Ambiguous"  # segments of this label are left out by its data sets of THUMOS


def encode_opentad(listing: Listing) -> SmallFiles:
    """The annotations, the class names and the configuration."""
    classes = listing.classes
    if wrong := next((label for label in classes if "\n" in label or "\r" in label), None):
        raise InputError(f"label {quoted(wrong)}: has a line end, which {CLASSES} cannot hold; rename it")
    database = {
        video.name: {
            "subset": video.subset,
            "duration": seconds_of(video, listing.settings.fps),
            "frame": video.num_frames,
            "annotations": [{"segment": [one.start, one.stop], "label": one.label} for one in video.segments],
        }
        for video in listing.videos
    }
    notes = [f"segments labelled {IGNORED} are left out by OpenTAD's data sets of THUMOS"] if IGNORED in classes else []
    row, stride, channels = listing.first_row, listing.settings.stride, listing.shape[-1]
    offset = (row.first + row.stop) // 2  # whole in OpenTAD: of an odd window half a frame is lost
    return SmallFiles(
        {
            ANNOTATIONS: json_bytes({"version": VERSION, "database": database}),
            CLASSES: "".join(f"{label}\n" for label in classes).encode(),
            CONFIG: _config(listing, offset).encode(),
        },
        rows=f"feature_stride={stride}, sample_stride=1, offset_frames={offset}, in_channels={channels}",
        notes=notes,
    )


def _config(listing: Listing, offset: int) -> str:
    base = "configs/_base_/datasets/thumos-14/features_i3d_train_trunc_test_sw.py"
    subsets = {"train": "training", "val": listing.tested_on, "test": listing.tested_on}
    lines = [
        f"# Features for OpenTAD, by i3d. Lines to put behind the _base_ of a configuration with {base}.",
        f"annotation_path = {listing.path(ANNOTATIONS)}",
        "data = dict(",
        "    ann_file=annotation_path,",
        f"    class_map={listing.path(CLASSES)},",
        f"    data_path={listing.path(ARRAYS)},",
        "    block_list=None,",
        f"    feature_stride={listing.settings.stride},",
        "    sample_stride=1,",
        f"    offset_frames={offset},",
        ")",
        "dataset = dict(",
        *(f'    {part}=dict(subset_name="{subset}", **data),' for part, subset in subsets.items()),
        ")",
        f'evaluation = dict(subset="{listing.tested_on}", ground_truth_filename=annotation_path)',
        f"model = dict(projection=dict(in_channels={listing.shape[-1]}), "
        f"rpn_head=dict(num_classes={max(len(listing.classes), 1)}))",
    ]
    return "\n".join(lines) + "\n"
