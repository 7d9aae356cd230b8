"""`i3d features` and `i3d features compare`."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import device as torch_device

from i3d.cli import output
from i3d.cli.features import CROPS, FeatureOptions
from i3d.cli.messages import log
from i3d.cli.options import ComputeOptions
from i3d.cli.run.setup import compute_config, is_first_rank
from i3d.cli.streams import Streams
from i3d.errors import InputError, printable
from i3d.features import compare as comparisons
from i3d.features.extract import extract_features, feature_files, load_extractor
from i3d.features.sidecar import read_sidecar
from i3d.recipes.features import FeatureSettings, feature_preset
from i3d.recipes.settings import first_error
from i3d.utils.device import ComputeConfig
from i3d.utils.distributed import init_world


def run_features(
    videos: Sequence[str],
    out: Path,
    networks: Streams,
    options: FeatureOptions,
    compute: ComputeOptions,
    *,
    force: bool,
) -> int:
    """Extract the features of videos; the exit code."""
    settings = _settings(options)
    num_videos = len(feature_files(videos, out, options.array_format))
    extractor = load_extractor(
        networks.rgb,
        settings,
        flow_model=networks.flow,
        flow=networks.flow_method,
        recipe=networks.rgb_recipe,
        flow_recipe=networks.flow_recipe,
        compute=compute_config(compute),
    )
    num_new = num_reused = num_bad = 0
    with output.ProgressBar("extract features", num_videos) as bar:
        results = extract_features(
            videos, out, extractor, file_format=options.array_format, force=force, on_progress=bar
        )
        for row in results:
            bar.advance()
            num_reused += row.reused
            num_new += not row.reused and not row.error
            num_bad += bool(row.error)
            if row.error:
                log.error(row.error)
            for note in row.notes:
                log.warning("%s: %s", printable(row.target.video), note)
    num_new, num_reused, num_bad = _sum_over_ranks(num_new, num_reused, num_bad)
    if not is_first_rank():  # of several processes, one that fails would end the others
        return 0
    num_good, reused = num_new + num_reused, f", {num_reused} reused" if num_reused else ""
    log.info("features of %d of %d videos%s, in %s", num_good, num_good + num_bad, reused, printable(str(out)))
    return 3 if num_bad else 0


@dataclass(frozen=True)
class Networks:
    """The networks that made features."""

    model: str | None
    recipe: str | None
    flow_model: str | None
    flow_recipe: str | None


def run_compare(ours: Path, theirs: Path, video: Path | None, networks: Networks, device: str, *, json: bool) -> None:
    """Print how alike two files are, and with a network what may have made them differ."""
    comparison = comparisons.compare_features(ours, theirs)
    causes = _causes(ours, theirs, video, networks, device) if networks.model or networks.flow_model else []
    if json:
        summary: dict[str, Any] = {
            "cosines": comparison.cosines_R.tolist(),
            "rows": comparison.num_rows,
            "same": comparison.is_same,
            "shifted": comparison.shifted,
            "differ": comparison.differ,
            "causes": [{"what": cause.what, "cosine": cause.cosine} for cause in causes],
        }
        print(json_format.dumps(summary, indent=2))
    else:
        output.print_comparison(comparison, causes)


def _causes(
    ours: Path, theirs: Path, video: Path | None, networks: Networks, device: str
) -> list[comparisons.LikelyCause]:
    """Changes to the settings of the first file, and how near each comes to the second."""
    sidecar = ours.with_suffix(".json")
    record = read_sidecar(sidecar)
    if record is None or "video" not in record:
        raise InputError(f"{printable(str(sidecar))}: is missing or damaged; the search needs its settings")
    try:
        made_with = record["made_with"]
        flows = [weights["flow"] for weights in made_with["weights"] if weights["flow"]]
        settings, precision = FeatureSettings(**made_with["settings"]), made_with["precision"]
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{printable(str(sidecar))}: is damaged; extract the features again (--force)") from error
    extractor = load_extractor(
        networks.model,
        settings,
        flow_model=networks.flow_model,
        recipe=networks.recipe,
        flow_recipe=networks.flow_recipe,
        flow=flows[0] if flows else None,
        compute=ComputeConfig(device, precision),
    )
    if [w["sha256"] for w in extractor.made_with["weights"]] != [w["sha256"] for w in made_with["weights"]]:
        raise InputError(f"{printable(str(sidecar))}: was made with other weights than --model and --flow-model")
    return comparisons.likely_causes(extractor, video or Path(record["video"]), theirs)


def _sum_over_ranks(*counts: int) -> list[int]:
    """The sums over all processes; each waits here for the others."""
    lines = init_world(torch_device("cpu")).all_gather([" ".join(map(str, counts))])
    return [sum(column) for column in zip(*(map(int, line.split()) for line in lines), strict=True)]


def _settings(options: FeatureOptions) -> FeatureSettings:
    """The settings of the preset, or the default ones, changed by the options."""
    values: dict[str, Any] = (feature_preset(options.preset) if options.preset else FeatureSettings()).model_dump()
    if options.dense:
        values |= {"stride": 1, "align": "centre", "padding": "repeat"}
    given = {
        "layer": options.layer,
        "window": options.window,
        "stride": options.stride,
        "align": options.window_align,
        "padding": options.padding,
        "crops": None if options.crops is None else CROPS[options.crops],
        "grid": options.grid or None,
        "flip": options.mirror_crops or None,
    }
    values |= {name: value for name, value in given.items() if value is not None}
    if options.fps is not None:
        values["fps"] = None if options.fps == "native" else float(options.fps)
    try:
        return FeatureSettings(**values)
    except ValidationError as error:
        raise InputError(f"features: {first_error(error)}") from error
