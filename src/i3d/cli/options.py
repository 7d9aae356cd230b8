"""What several commands ask for alike: options that say which dataset, and what they become."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from i3d.cli import output
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.data.frame_folders import FrameNaming
    from i3d.data.loading.dataset import ClipDataset
Source = Annotated[
    Path,
    typer.Argument(
        help="A list (MMAction2's, CSV, TSV, JSON lines, Kinetics, UCF101, Something-Something) or a class folder.",
        show_default=False,
    ),
]
Root = Annotated[Path | None, typer.Option(help="What paths of the list are relative to (default: its folder).")]
SplitName = Annotated[str | None, typer.Option("--split", help="Only train, val or test.")]
Classes = Annotated[
    str | None,
    typer.Option(help="Class names: a file, or kinetics400, kinetics600, ucf101, hmdb51 (default: from the list)."),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="auto, folders, videos, frames, frames-offset, table, kinetics, ucf101, hmdb51, something-v1 or -v2.",
    ),
]
Fold = Annotated[int, typer.Option(min=1, max=3, help="Which of UCF101's and HMDB51's three divisions.")]
MultiLabel = Annotated[bool, typer.Option("--multi-label", help="Clips may have several classes.")]
AllowOutside = Annotated[bool, typer.Option("--allow-outside", help="Accept paths that lead out of the root.")]
Modality = Annotated[str, typer.Option(help="rgb or flow (folders of frames).")]
Template = Annotated[
    str | None, typer.Option(help="Names of frames, such as img_{:05d}.jpg or flow_{axis}_{:05d}.jpg.")
]
FirstIndex = Annotated[int, typer.Option(min=0, help="The number of the first frame, with --template.")]
ClipRecipe = Annotated[str, typer.Option("--recipe", help="Clip length and sizes are this recipe's (`i3d models`).")]
DEFAULT_RECIPE = "i3d_r50_32x2x1_100e_kinetics400_rgb"
RecipeName = Annotated[
    str | None, typer.Option("--recipe", help="What a foreign file was trained by, if it does not tell (`i3d models`).")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
PrecisionName = Annotated[
    str, typer.Option("--precision", help="fp32, bf16, fp16, or auto: the fastest that the device has.")
]
RuntimeName = Annotated[
    str,
    typer.Option(
        "--runtime",
        help="What runs the network: torch, compile, or openvino (pip install 'i3d[export]').",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Workers = Annotated[int, typer.Option(min=0, help="Worker processes.")]
Seed = Annotated[int, typer.Option(min=0, help="Another number, another draw.")]


class WithDefault(TyperGroup):
    """Commands of which one is meant where none is named: `i3d flow clip.mp4` is `i3d flow of clip.mp4`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["of", *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """That of the command that is meant, and which others there are."""
        meant = self.commands["of"]
        with meant.context_class(meant, info_name=ctx.info_name, parent=ctx.parent) as instead:
            meant.format_help(instead, formatter)
        others = [f"{ctx.command_path} {name}" for name in self.commands if name != "of"]
        formatter.write(f"\nSee also: {', '.join(f'{name} --help' for name in others)}\n")


def is_first() -> bool:
    """Whether this is the process that speaks for all that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def read_dataset(
    source: Path,
    root: Path | None,
    split: str | None,
    classes: str | tuple[str, ...] | None,
    format: str,  # noqa: A002
    fold: int,
    multi_label: bool,
    allow_outside: bool,
    *,
    need_labels: bool = True,
) -> Annotations:
    """The annotations that the options ask for; their warnings are told."""
    from i3d.data.formats.read import class_names, read_annotations

    found = read_annotations(
        source,
        root=root,
        split=split,
        classes=class_names(classes) if isinstance(classes, str) else classes,
        format=cast(Any, format),
        fold=fold,
        multi_label=multi_label,
        allow_outside=allow_outside,
        need_labels=need_labels,
    )
    for warning in found.warnings if is_first() else ():
        output.say(f"warning: {printable(warning)}")
    return found


def clip_dataset(
    found: Annotations,
    view: str,
    recipe: str,
    modality: str,
    template: str | None,
    first_index: int,
    *,
    seed: int = 0,
) -> ClipDataset:
    """Clips as training or testing by a recipe sees them."""
    from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
    from i3d.data.loading.flow_cache import ClipFlow
    from i3d.recipes.augmentation import Augmentation, TrainSampling
    from i3d.recipes.named import named_recipe
    from i3d.recipes.settings import ClipProtocol

    chosen = named_recipe(recipe)
    protocol, pre = chosen.protocol, chosen.preprocessing
    if not isinstance(protocol, ClipProtocol):
        raise InputError(f"--recipe {recipe}: scores all frames of a video, not clips; choose one that scores clips")
    if view not in ("train", "test"):
        raise InputError(f"--view {view!r}: is neither train nor test")
    sampling = TrainSampling(clip_len=protocol.clip_len, frame_interval=protocol.frame_interval)
    training = TrainView(sampling, Augmentation(resize=pre.short_side, size=min(224, pre.crop)))
    naming = frame_names(modality, template, first_index)
    chosen_view = training if view == "train" else TestView(protocol, pre)
    flow = ClipFlow(short_side=pre.short_side) if modality == "flow" else None
    return ClipDataset(found, chosen_view, seed=seed, flow=flow, naming=naming)


def share(max_bad: str) -> float:
    """The share that --max-bad says: 1% or 0.01."""
    try:
        found = float(max_bad.removesuffix("%")) / (100 if max_bad.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise InputError(f"--max-bad {max_bad!r}: not a share; write 1% or 0.01")
    return found


def frame_names(modality: str, template: str | None, first_index: int) -> FrameNaming | None:
    """How frames are named, if the options say so."""
    from i3d.data.frame_folders import FrameNaming

    if modality not in ("rgb", "flow"):
        raise InputError(f"--modality {modality!r}: is neither rgb nor flow")
    return None if template is None else FrameNaming(template, first_index, cast(Any, modality))
