"""`i3d score --truth`: the metrics of predicted segments."""

import json
from dataclasses import replace
from pathlib import Path

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.score import ScoreOptions, SegmentOptions
from i3d.data.segments.read import CHAPTERS, SUBTITLES, read_segment_file, read_segments
from i3d.data.segments.segment import VideoSegments
from i3d.errors import InputError, printable
from i3d.evaluation.detection import PRESETS
from i3d.evaluation.result_file import YAML, as_yaml
from i3d.evaluation.segment_pairs import match_videos
from i3d.evaluation.segment_scores import COLLAR, score_segments
from i3d.utils.atomic_files import write_atomically


def run_score_segments(predictions: Path, truth: Path, options: SegmentOptions, score: ScoreOptions) -> int:
    """Print the metrics of predicted segments, compared with annotated ones; the exit code."""
    result = score.result
    tiou = _thresholds(options.tiou or "thumos")
    collar = COLLAR if options.collar is None else options.collar
    check_list_fps(options.list_fps, predictions, truth)
    predicted, true = (read_segments(path, fps=options.list_fps) for path in (predictions, truth))
    try:
        predicted = with_name_of_truth(predictions, predicted, truth, true)
        scores = score_segments(predicted, true, tiou=tiou, collar=collar, split=options.split)
        if score.metrics:
            scores = scores.select([name.strip() for name in score.metrics.split(",")])
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


def with_name_of_truth(
    predictions: Path, predicted: tuple[VideoSegments, ...], truth: Path, true: tuple[VideoSegments, ...]
) -> tuple[VideoSegments, ...]:
    """The predictions, under the name of the annotated video if both files have one video each and no names match.

    That is for files that name no video, but have the name of one: subtitles, and copies with chapters.
    """
    if not any(path.suffix.lower() in (*CHAPTERS, *SUBTITLES) for path in (predictions, truth)):
        return predicted
    if len(predicted) != 1 or len(true) != 1 or match_videos([predicted[0].video], [true[0].video]):
        return predicted
    log.warning(
        "%s: its one video, %s, is compared with the one of %s, %s: their names differ",
        *(printable(str(one)) for one in (predictions, predicted[0].video, truth, true[0].video)),
    )
    return (replace(predicted[0], video=true[0].video),)


def check_list_fps(fps: float | None, *paths: Path) -> None:
    """An InputError for a rate that no file of segments uses: their times are seconds, or they have their own rate."""
    if fps is not None and not any(map(_needs_rate, paths)):
        files = " and ".join(map(str, paths))
        raise InputError(f"--list-fps {fps:g}: is not used, as {files} can be read without it; omit it")


def _needs_rate(path: Path) -> bool:
    try:
        read_segment_file(path)
    except InputError:  # of another kind too, which is raised when the file is read
        return True
    return False


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
