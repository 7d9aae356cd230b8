"""`i3d timeline --tune`: thresholds and smoothing are chosen on videos with known segments."""

import json
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from i3d.cli import output
from i3d.cli.checks import flags_named
from i3d.cli.messages import if_interrupted, log
from i3d.cli.run.segments import check_list_fps
from i3d.cli.run.timeline import FLAGS, build_predictor, scores_log
from i3d.cli.timeline import TimelineOptions
from i3d.data.formats.inputs import STDIN, expand_inputs
from i3d.data.resume import finish_log
from i3d.data.segments.read import read_segments
from i3d.errors import InputError, printable
from i3d.timelines import find
from i3d.timelines.find import TimelineFinder
from i3d.timelines.tune_api import tune_finder, tuned_segments
from i3d.utils.outputs import locked_output
from i3d.video.base import Limits
from i3d.weights.pretrained import DEFAULT
from i3d.weights.tuned import checkpoint_to_write, save_tuned


def run_tune(videos: Sequence[str], truth: Path, options: TimelineOptions) -> int:
    """Choose the settings, print how good they are, and write them into the checkpoint; the exit code."""
    paths, out = expand_inputs(videos), options.tuning.tune_out
    if STDIN in paths:
        raise InputError("-: settings are tuned on files; name one")
    target = out or _target(options)
    check_list_fps(options.tuning.list_fps, truth)
    known = read_segments(truth, fps=options.tuning.list_fps)
    how = find.TimelineOptions(options.window_seconds, options.stride_seconds, use_tuned=False)
    with (
        if_interrupted(f"scores so far are stored beside {printable(str(target))}", resumes=True),
        nullcontext() if out else locked_output(f"--model {target}", target),
        output.ProgressBar("timeline", None, "s") as bar,
    ):
        predictor = build_predictor(options)
        with flags_named(**FLAGS):
            finder = TimelineFinder(predictor, how)
        log_of = _log_of(target, paths, finder, options)
        with scores_log(log_of, paths, finder, options) as scores:
            tuning = tune_finder(
                finder, paths, known,
                by=options.tuning.tune_by or "f1@50", where=f"--tune {truth}", log=scores,
                frames_fps=options.frames_fps, limits=Limits(max_seconds=options.max_decode_lag), on_progress=bar,
            )  # fmt: skip
        save_tuned(predictor.weights, tuned_segments(tuning, how), target, in_place=out is None)
        finish_log(log_of, is_complete=True)
    if options.json:
        output.print_json({**asdict(tuning), "settings": dict(tuning.settings), "model": str(target)})
    else:
        output.print_tuning(tuning)
    name = printable(str(target))
    log.info("%s: holds these settings; `i3d timeline --model %s` uses them", name, shlex.quote(name))
    return 0


def _log_of(target: Path, paths: Sequence[str], finder: TimelineFinder, options: TimelineOptions) -> Path:
    """What the log of scores is named after: the checkpoint, with a hash of what is scored and how."""
    scored = json.dumps([finder.settings, options.frames_fps, *paths], sort_keys=True, default=str)
    return target.with_name(f"{target.name}.tune-{sha256(scored.encode()).hexdigest()[:8]}")


def _target(options: TimelineOptions) -> Path:
    """The checkpoint itself, refused if it cannot be written."""
    model, recipe = options.model.model or DEFAULT, options.model.recipe
    return checkpoint_to_write(model, recipe=recipe, has_labels=options.classes is not None)
