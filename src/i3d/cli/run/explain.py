"""`i3d explain`: a label of one video by a map and a curve."""

from i3d.cli import output
from i3d.cli.checks import flags_named
from i3d.cli.explain import ExplainOptions
from i3d.cli.messages import if_interrupted, log
from i3d.cli.run.network import one_network
from i3d.data.formats.inputs import STDIN, expand_inputs
from i3d.errors import InputError, printable
from i3d.explanations import explainer as explainers
from i3d.explanations.draw import animation_fps, draw_explanation
from i3d.video.base import Limits


def run_explain(video: str, options: ExplainOptions) -> int:
    """Explain a video, print and draw the explanation; the exit code."""
    path = _one_video(video)
    with flags_named(*vars(options)):
        return _explain(path, options)


def _explain(path: str, options: ExplainOptions) -> int:
    explainer = _explainer(options)
    with if_interrupted("nothing is saved", resumes=False), output.ProgressBar("explain") as bar:
        explanation = explainer(
            path,
            frames_fps=options.frames_fps,
            limits=Limits(max_seconds=options.max_decode_lag),
            on_progress=bar,
        )
    for note in explanation.notes:
        log.warning("%s: %s", printable(path), note)
    output.print_explanation(explanation, json=options.json)
    for out in (options.out, options.plot):
        if out is not None:
            draw_explanation(explanation, out, force=True)  # `guarded` has checked and locked it
            log.info("explanation drawn: %s", printable(str(out)))
    if options.out is not None and explanation.fps is None:
        log.info("its frames have no times: drawn at %g frames a second", animation_fps(explanation))
    elif options.out is not None and explanation.fps != animation_fps(explanation):
        log.info("drawn at %g frames a second, slower than its %g", animation_fps(explanation), explanation.fps)
    return 0


def _one_video(video: str) -> str:
    paths = expand_inputs([video])
    if paths == [STDIN]:
        raise InputError("-: an explanation reads a file; name one")
    if len(paths) > 1:
        raise InputError(f"{video}: stands for {len(paths)} videos; name one of them, such as {paths[0]}")
    return paths[0]


def _explainer(options: ExplainOptions) -> explainers.Explainer:
    how = explainers.ExplainOptions(
        label=options.label,
        layer=options.layer,
        view=options.view,
        length=options.hide_frames,
        has_map=not options.curve_only,
        num_random=options.random_maps,
        seed=options.seed,
    )
    predictor = one_network(options.model, options.classes, options.flow_method, options.compute)
    return explainers.Explainer(predictor, how)
