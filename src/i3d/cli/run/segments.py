"""`i3d score --truth`: the metrics of predicted segments."""

import json
from pathlib import Path

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.score import ResultOptions, SegmentOptions
from i3d.data.segments.read import read_segment_file, read_segments
from i3d.errors import InputError, printable
from i3d.evaluation.detection import PRESETS
from i3d.evaluation.result_file import YAML, as_yaml
from i3d.evaluation.segment_scores import COLLAR, score_segments
from i3d.utils.atomic_files import write_atomically


def run_score_segments(predictions: Path, truth: Path, options: SegmentOptions, result: ResultOptions) -> int:
    """Print the metrics of predicted segments, compared with annotated ones; the exit code."""
    tiou = _thresholds(options.tiou or "thumos")
    collar = COLLAR if options.collar is None else options.collar
    predicted, true = (read_segments(path, fps=options.list_fps) for path in (predictions, truth))
    try:
        scores = score_segments(predicted, true, tiou=tiou, collar=collar, split=options.split)
    except InputError as error:
        raise InputError(f"{predictions}, --truth {truth}: {error}") from error
    for note in scores.notes:
        log.info("%s", printable(note))
    for warning in scores.warnings:
        log.warning("%s", printable(warning))
    data = {"predictions": str(predictions), "truth": str(truth), "split": options.split, **scores.as_dict()}
    if result.out is not None:
        is_yaml = result.out.suffix.lower() in YAML
        text = as_yaml(data) if is_yaml else json.dumps(data, indent=1, allow_nan=False) + "\n"
        write_atomically(result.out, text.encode())
        log.info("metrics: %s", printable(str(result.out)))
    if result.json:
        output.print_json(data)
    else:
        output.print_segment_scores(scores)
    return 0


def check_no_segments(path: Path) -> None:
    """An InputError for a file of segments, which need annotated ones to be compared with."""
    try:
        read_segment_file(path, fps=1)  # any: the times are not used
    except InputError:
        return
    raise InputError(f"{path}: holds segments; give the annotated ones too: --truth FILE")


def _thresholds(text: str) -> tuple[float, ...]:
    """Those of a preset, or of a list with commas: each once, by size."""
    if text in PRESETS:
        return PRESETS[text]
    try:
        values = sorted({float(value) for value in text.split(",")})
    except ValueError as error:
        names = " or ".join(PRESETS)
        raise InputError(f"--tiou {text!r}: write {names}, or numbers with commas, such as 0.3,0.5") from error
    for value in values:
        if not 0 < value <= 1:
            raise InputError(f"--tiou {value:g}: must be above 0 and at most 1")
    return tuple(values)
