"""`i3d predict`: the networks are loaded once, and each video is a row of results."""

from contextlib import nullcontext

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.predict import PredictOptions
from i3d.cli.run.setup import compute_config, warn_if_incomplete
from i3d.cli.streams import Fusion, Streams, check_flow_method
from i3d.data.class_files import class_names
from i3d.data.resume import ResumeLog
from i3d.errors import InputError, printable
from i3d.inference import predictor as predictors
from i3d.inference.annotate import annotate
from i3d.inference.predict_many import predict_each
from i3d.inference.prediction import Prediction, write_predictions
from i3d.inference.two_stream import TwoStreams
from i3d.video.base import Limits


def run_predict(paths: list[str], options: PredictOptions, networks: Streams, fusion: Fusion) -> int:
    """Predict each video, print and write the results; the exit code."""
    out, top_k, frames_fps = options.out, options.top_k, options.frames_fps
    if options.annotate is not None and len(paths) > 1:
        raise InputError(f"--annotate draws on one video, {len(paths)} were given; name one")
    limits = Limits(max_seconds=options.max_decode_lag)
    predictor = _load(networks, fusion, options)
    settings = {**predictor.settings, "top_k": top_k, "frames_fps": frames_fps}
    encode, decode, force = Prediction.to_dict, Prediction.from_dict, options.force
    resumed = ResumeLog(out, settings, paths, encode=encode, decode=decode, force=force) if out else nullcontext()
    rows: list[Prediction] = []
    with output.ProgressBar("predict", len(paths)) as bar, resumed as results_log:
        for row in predict_each(
            predictor, paths, log=results_log, top_k=top_k, frames_fps=frames_fps, limits=limits, on_progress=bar
        ):
            rows.append(row)
            with bar.paused():
                output.print_prediction(row, json=options.json, paths=paths)
            bar.advance()
    if out is not None:
        write_predictions(out, rows, top_k=top_k)
    if options.json:
        output.print_json([row.to_dict() for row in rows])
    bad = sum(row.status == "error" for row in rows)
    output.print_summary(rows, bad, out, predictor.protocol_line, json=options.json)
    if options.annotate is not None and not bad:
        annotate(paths[0], rows[0], options.annotate, frames_fps=frames_fps, limits=limits)
        log.info("labels drawn on the video: %s", printable(str(options.annotate)))
    return 3 if bad else 0


def _load(networks: Streams, fusion: Fusion, options: PredictOptions) -> predictors.Predictor | TwoStreams:
    """The network, or both as one predictor."""
    loaded = [
        predictors.Predictor(
            name,
            recipe=recipe,
            labels=None if options.classes is None else class_names(options.classes),
            compute=compute_config(options.compute),
            flow=networks.flow_method,
        )
        for name, recipe in ((networks.rgb, networks.rgb_recipe), (networks.flow, networks.flow_recipe))
        if name is not None
    ]
    check_flow_method(networks.flow_method, has_flow=loaded[-1].flow is not None)
    for one in loaded:
        warn_if_incomplete(one.weights)
    if len(loaded) == 1:
        return loaded[0]
    return TwoStreams(*loaded, weights=fusion.weights or (1.0, 1.0), average=fusion.average)
