"""What stands beside a value of FVD: the protocol in one line, and the warnings."""

from collections.abc import Sequence
from typing import Any, Final

from i3d.errors import abridged, counted, printable
from i3d.video_distance.embed_set import EmbeddedSet, SizeCheck
from i3d.video_distance.embedding import Embedder
from i3d.video_distance.feature_files import WIDTHS
from i3d.video_distance.protocols import FvdProtocol
from i3d.video_distance.result import FVD, SetSummary

USUAL_CLIPS: Final = 2048  # of each set, in published values
NAMED: Final = 3  # videos in a warning
MAX_COMPRESSED: Final = 0.05  # of the clips, by which the sets may differ without a warning
OF_FEATURES: Final = ("name", "max_clips", "covariance", "features")  # fields of a protocol that act on features


def metric_name(protocol: FvdProtocol, embedder: Embedder | None, *, width: int, has_features: bool) -> str:
    """ "FVD" for the logits of the shipped network only; others are distances of another kind.

    `width`: numbers of a row; `has_features`: of a set at least they were extracted before, by an unknown network.
    """
    if embedder is None and width not in WIDTHS:
        return f"Frechet distance of features of {width} numbers (not FVD)"
    if protocol.features == "pooled":
        return "Frechet distance of pooled features (not FVD)"
    if embedder is not None and not embedder.is_reference:
        return "Frechet distance of the logits of another network (not FVD)"
    return f"{FVD} (if these are logits of the reference network)" if has_features else FVD


def protocol_record(
    protocol: FvdProtocol, embedder: Embedder | None, *, seed: int, mixed_sizes: bool
) -> dict[str, Any]:
    """Everything that the value depends on beside the sets, as JSON values."""
    fields = protocol.model_dump(mode="json")
    if embedder is None:
        fields = {name: value if name in OF_FEATURES else None for name, value in fields.items()}
    return {
        **fields,
        "network": None if embedder is None else embedder.name,
        "network_sha256": None if embedder is None else embedder.sha256,
        "range": None if embedder is None else "2 x / 255 - 1",
        "arithmetic": None if embedder is None else embedder.engine.description,
        "seed": seed,
        "mixed_sizes": mixed_sizes,
    }


def protocol_line(
    protocol: FvdProtocol, embedder: Embedder | None, real: SetSummary, generated: SetSummary, *, width: int, seed: int
) -> str:
    """The whole protocol in one line. `width`: numbers of a feature."""
    steps = protocol.steps(width) if embedder is not None else protocol.steps_of_features(width)
    network = "no network" if embedder is None else f"network {embedder.name} {embedder.sha256[:12]}"
    parts = [
        protocol.name,
        network if embedder is None else f"{network}, {embedder.engine.description}",
        *steps,
        f"{real.words} real and {generated.words} generated",
        f"seed {seed}",
        f"real set {real.sha256[:12]}",
    ]
    return printable("; ".join(parts))


def set_warnings(
    protocol: FvdProtocol,
    real: EmbeddedSet,
    generated: EmbeddedSet,
    sizes: SizeCheck,
) -> list[str]:
    """What is wrong, or unusual, with two sets."""
    warnings: list[str] = []
    if real.origin and generated.origin:
        applies = "the covariance applies" if protocol.max_clips is None else "covariance and max-clips apply"
        warnings.append(f"both sets are features: no network runs, and of the protocol only {applies}")
    for side, one in (("real", real), ("generated", generated)):
        if one.short:
            names = abridged([f"{printable(name)} ({frames})" for name, frames in one.short], NAMED)
            number = counted(len(one.short), "video is", "videos are")
            warnings.append(
                f"{side}: {number} shorter than the {protocol.span} frames of a clip, and left out: {names}"
            )
        if one.errors:
            number = counted(len(one.errors), "video is", "videos are")
            warnings.append(f"{side}: {number} unreadable, and not in the value")
        if one.num_unread:
            row, rows = ("row is", "rows are") if one.origin else ("video is", "videos are")
            number = counted(one.num_unread, row, rows)
            warnings.append(f"{side}: {number} left out behind the first {protocol.max_clips:,} clips")
        if one.first_array is not None and one.first_array[1] > protocol.span and protocol.clips_of(side) != "all":
            warnings.append(f"{side}: arrays have {one.first_array[1]} frames, of which a clip spans {protocol.span}")
        if one.first_array is not None and protocol.resize == "twice":
            warnings.append(f"{side}: arrays are stretched only: the resize to {protocol.resolution} is of files")
        if one.origin:
            warnings.append(f"{side}: {one.origin}; its clips, resize and range are not checked")
    if len(sizes.sizes) > 1:
        each = abridged([f"{width} x {height}" for height, width in sizes.sizes], NAMED)
        what = "each is resized by itself, and sizes alone give a distance"
        warnings.append(f"clips have {len(sizes.sizes)} sizes ({each}): {what}")
    return warnings + _comparability(real, generated)


def _compression(real: EmbeddedSet, generated: EmbeddedSet) -> list[str]:
    """Whether 5 % of the clips, or more, are compressed in one set and not in the other, or by another codec."""
    one, other = real.compressed, generated.compressed
    if not (real.encodings and generated.encodings):  # a set of features
        return []
    is_fraction = abs(sum(one.values()) - sum(other.values())) >= MAX_COMPRESSED
    differ = sum(abs(one.get(codec, 0) - other.get(codec, 0)) for codec in {*one, *other}) / 2
    if not is_fraction and differ < MAX_COMPRESSED:
        return []
    sides = []
    for side, fractions in (("real", one), ("generated", other)):
        codecs = abridged([f"{100 * fractions[codec]:.3g} % {codec}" for codec in sorted(fractions)], NAMED)
        sides.append(f"{side} {codecs or 'none'}")
    what = "compressed clips" if is_fraction else "codecs"
    return [f"{what} differ: {', '.join(sides)}; compression alone gives a distance"]


def _comparability(real: EmbeddedSet, generated: EmbeddedSet) -> list[str]:
    """What differs between the sets beside their content, and what they share."""
    warnings = _compression(real, generated)
    if real.rates and generated.rates and set(real.rates) != set(generated.rates):
        each = " and ".join(
            f"{side} {abridged([rate for rate, _ in one.rates.most_common()], NAMED)}"
            for side, one in (("real", real), ("generated", generated))
        )
        warnings.append(
            f"frame rates differ: {each}; frames are compared by number, so that speed alone gives a distance"
        )
    shared = len(set(real.digests) & set(generated.digests))
    if shared and set(real.digests) == set(generated.digests):
        warnings.append("both sets have the same videos: the value is 0 by nature, or that of the draw of clips")
    elif shared:
        warnings.append(f"{counted(shared, 'video is', 'videos are')} in both sets, which lowers the value")
    return warnings


def video_notes(sets: Sequence[EmbeddedSet]) -> list[str]:
    """Remarks on the videos of the sets: truncated, damaged."""
    return [f"{printable(name)}: {note}" for one in sets for name, note in one.notes]


def bias_warnings(real: SetSummary, generated: SetSummary, metric: str, value: float) -> list[str]:
    """How much of a value is chance, if there are few clips or unequal numbers."""
    numbers = real.clips, generated.clips
    if min(numbers) >= USUAL_CLIPS and numbers[0] == numbers[1]:
        return []
    what = f"{numbers[0]:,} real and {numbers[1]:,} generated clips, published values have {USUAL_CLIPS:,} of each"
    parts: list[str] = []
    for side, one in (("real", real), ("generated", generated)):
        if one.chance is not None:
            halves = f"halves of {one.chance.half:,} are {one.chance.halves:.4g} apart"
            parts.append(f"two sets like the {side} one about {one.chance.expected:.4g} ({halves})")
    if not parts:
        return [f"{what}; the value is biased upwards, by how much cannot be measured on under 8 clips"]
    return [f"{what}; of {metric} {value:.4g}, chance alone gives {' and '.join(parts)}"]
