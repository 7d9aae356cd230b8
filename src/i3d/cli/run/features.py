"""`i3d features` and `i3d features compare`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import device as torch_device

from i3d.cli import output
from i3d.cli.checks import frame_rate
from i3d.cli.features import CROPS, CompareOptions, FeatureOptions
from i3d.cli.messages import if_interrupted, is_first_rank, log, unreadable_code
from i3d.cli.run.setup import compute_config, log_flow_cost
from i3d.cli.streams import Streams
from i3d.errors import InputError, counted, printable
from i3d.features import compare as comparisons
from i3d.features.extract import ExtractResult, extract_each, feature_files, load_extractor
from i3d.features.extractor import FeatureExtractor
from i3d.features.layouts.layout import layout_settings
from i3d.features.layouts.write import plan_layout
from i3d.features.sidecar import read_sidecar
from i3d.recipes.features import POOLED, FeatureSettings, describe_other_network, feature_preset
from i3d.recipes.settings import first_error
from i3d.utils.device import ComputeConfig
from i3d.utils.distributed import init_world
from i3d.utils.launcher import launched_as
from i3d.utils.outputs import output_folder


def run_features(videos: Sequence[str], networks: Streams, options: FeatureOptions) -> int:
    """Extract the features of videos; the exit code."""
    settings, out, kind = _settings(options), options.out, options.array_format or "npy"
    plan = None
    if options.layout is not None:
        plan = plan_layout(options.layout, settings, videos, out, segments=options.segments, force=options.force)
        _warn(plan.notes)
    # errors come before networks
    targets = plan.targets if plan else feature_files(videos, output_folder("out", out), kind)
    extractor = load_extractor(
        networks.rgb,
        settings,
        flow_model=networks.flow,
        flow=networks.flow_method,
        recipe=networks.rgb_recipe,
        flow_recipe=networks.flow_recipe,
        compute=compute_config(options.compute),
    )
    for stream in extractor.streams:
        if stream.flow is not None:
            cache = compute_config(options.compute).cache
            log_flow_cost(stream.flow, cache, short_side=stream.preprocessing.short_side, fps=settings.fps)
    if options.preset and settings.layer == POOLED:
        _warn_of_other_network(options.preset, extractor)
    outcomes = _Outcomes()
    rank, world_size = launched_as()
    saved = f"the features of complete videos are saved in {printable(str(out))}"
    share = len(range(len(targets))[rank::world_size])
    with if_interrupted(saved), output.ProgressBar("features", share, "video") as bar:
        if plan is not None:
            results = plan.extract(extractor, on_progress=bar.within)
        else:
            results = extract_each(targets, extractor, kind, force=options.force, on_progress=bar.within)
        for row in results:
            bar.advance()
            outcomes.add(row)
    outcomes.gather()  # waits for all ranks
    if plan is not None and rank == 0 and (files := plan.write(outcomes.bad)) is not None:
        _warn(files.notes)
    reused = f", {outcomes.num_reused} reused" if outcomes.num_reused else ""
    of_videos = counted(outcomes.num_good + len(outcomes.bad), "video")
    log.info("features of %d of %s%s, in %s", outcomes.num_good, of_videos, reused, printable(str(out)))
    return unreadable_code(len(outcomes.bad), "video")


@dataclass
class _Outcomes:
    """How many videos have features, and which have none."""

    num_good: int = 0
    num_reused: int = 0
    bad: list[str] = field(default_factory=list)  # their paths

    def add(self, row: ExtractResult) -> None:
        """Count a video, and log what is wrong with it."""
        self.num_reused += row.reused
        if row.error:
            log.error(row.error)
            self.bad.append(row.target.video)
        else:
            self.num_good += 1
        for note in row.notes:
            log.warning("%s: %s", printable(row.target.video), note)

    def gather(self) -> None:
        """Add those of all ranks."""
        own = json.dumps([self.num_good, self.num_reused, self.bad])
        ranks = [json.loads(line) for line in init_world(torch_device("cpu")).all_gather([own])]
        self.num_good, self.num_reused = (sum(rank[place] for rank in ranks) for place in (0, 1))
        self.bad = [path for rank in ranks for path in rank[2]]


def _warn(notes: Sequence[str]) -> None:
    for note in notes if is_first_rank() else ():
        log.warning(note)


def run_compare(ours: Path, theirs: Path, options: CompareOptions) -> None:
    """Print how alike two files are, and with a network what may have made them differ."""
    comparison = comparisons.compare_features(ours, theirs)
    causes = _causes(ours, theirs, options) if options.model.model or options.flow.flow_model else []
    for note in comparison.notes:
        log.warning(printable(note))
    if options.json:
        summary: dict[str, Any] = {
            "cosines": comparison.cosines_R.tolist(),
            "rows": comparison.num_rows,
            "same": comparison.is_same,
            "crops_first": comparison.crops_first,
            "crop_order": comparison.crop_order,
            "reordered": comparison.reordered,
            "shifted": comparison.shifted,
            "differ": comparison.differ,
            "notes": comparison.notes,
            "causes": causes,
        }
        output.print_json(summary)
    else:
        output.print_comparison(comparison, causes)


def _causes(ours: Path, theirs: Path, options: CompareOptions) -> list[comparisons.LikelyCause]:
    """Changes to the settings of the first file, and how near each comes to the second."""
    sidecar = ours.with_suffix(".json")
    record = read_sidecar(sidecar)
    if record is None or "video" not in record:
        raise InputError(f"{sidecar}: is missing or damaged; the search needs its settings")
    try:
        made_with = record["made_with"]
        flows = [weights["flow"] for weights in made_with["weights"] if weights["flow"]]
        settings, precision = FeatureSettings(**made_with["settings"]), made_with["precision"]
        digests = [weights["sha256"] for weights in made_with["weights"]]
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{sidecar}: is damaged; extract the features again (--force)") from error
    extractor = load_extractor(
        options.model.model,
        settings,
        flow_model=options.flow.flow_model,
        recipe=options.model.recipe,
        flow_recipe=options.flow.flow_recipe,
        flow=flows[0] if flows else None,
        compute=ComputeConfig(options.device, precision),
    )
    if [w["sha256"] for w in extractor.made_with["weights"]] != digests:
        raise InputError(f"{sidecar}: was made with other weights than --model and --flow-model")
    return comparisons.likely_causes(extractor, options.video or Path(record["video"]), theirs)


def _warn_of_other_network(preset: str, extractor: FeatureExtractor) -> None:
    """Log that the rows of a preset's authors come from another network."""
    networks = [stream.engine.net.settings for stream in extractor.streams]
    if (note := describe_other_network(preset, networks, extractor.num_channels)) and is_first_rank():
        log.warning(note)


def _settings(options: FeatureOptions) -> FeatureSettings:
    """The settings of the preset, or the default ones, changed by the options."""
    if options.preset:
        base = feature_preset(options.preset)
    else:
        base = layout_settings(options.layout) if options.layout else FeatureSettings()
    values: dict[str, Any] = base.model_dump()
    if options.dense:
        values |= {"stride": 1, "align": "centre", "padding": "repeat"}
    names = ("layer", "window", "stride", "align", "padding", "grid", "flip")
    values |= {name: value for name in names if (value := getattr(options, name))}
    if options.crops is not None:
        values["crops"] = CROPS[options.crops]
    if options.fps is not None:
        values["fps"] = frame_rate(options.fps)
    try:
        return FeatureSettings(**values)
    except ValidationError as error:
        raise InputError(f"features: {first_error(error)}") from error
