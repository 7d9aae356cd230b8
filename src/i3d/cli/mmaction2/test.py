"""MMAction2's `tools/test.py`, with the flags of 0.x and 1.x, on `i3d.evaluation.evaluate.evaluate_protocols`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from i3d.cli import output
from i3d.cli.messages import is_first_rank, log, unreadable_code
from i3d.cli.mmaction2.arguments import (
    ConfigArguments,
    choose_device,
    config_parser,
    config_words,
    in_config_words,
    read_clips,
    read_config_arguments,
)
from i3d.cli.output_files import check_writable
from i3d.data.resume import Resume, finish_log
from i3d.errors import InputError, printable
from i3d.evaluation.evaluate import evaluate_protocols
from i3d.evaluation.exports import SUFFIXES, check_out, write_results
from i3d.evaluation.result import TABLES, Evaluation, Metrics, check_metrics, compute_metrics, named_metrics
from i3d.evaluation.scorer import EvaluationOptions, EvaluationProtocol
from i3d.recipes.mmaction2.options import parse_value
from i3d.recipes.protocols import protocol_name, with_average
from i3d.utils.device import ComputeConfig
from i3d.utils.outputs import check_resumable
from i3d.weights.addresses import checkpoints_in, find_weights, is_address
from i3d.weights.foreign.shapes import differing_settings
from i3d.weights.load import load_weights

METRICS: Final = ("top_k_accuracy", "mean_class_accuracy")  # the default of 1.x
TOP_K: Final = "metric_options.top_k_accuracy.topk"


def run_test(arguments: Sequence[str] | None = None, *, device: str | None = None) -> Evaluation:
    """`tools/test.py`: MMAction2's flags, our test. `device`: by default that of the flags."""
    options = _options(arguments)
    with checkpoints_in(options.checkpoints):
        return _run_test(options, device)


def _run_test(options: argparse.Namespace, device: str | None) -> Evaluation:
    saves_views = options.average_clips == "none"
    given = [(flag, path) for flag, path in (("--out", options.out), ("--dump", options.dump)) if path]
    if len(given) == 2:
        raise InputError("--out, --dump: are the same in 0.x and 1.x; choose one of them")
    for flag, path in given:
        _check_output(flag, path, force=options.force, saves_views=saves_views)
    device = device or choose_device(options, f"dist_test.sh {options.config} {options.checkpoint}")
    parsed = read_config_arguments(options.config, options.cfg_options, for_training=False)
    wanted = parsed.config.test_output
    if not given and wanted.out:
        given = [("output_config.out of the config:", wanted.out)]
        _check_output(*given[0], force=options.force, saves_views=saves_views)
    if parsed.version == 0 and not given and not options.eval and not wanted.metrics:
        raise InputError(
            "no result is requested: add --eval top_k_accuracy mean_class_accuracy, --out result.json, or both"
        )
    top_k = _top_k(options.options, wanted.top_k or (1, 5), flag="--options")
    top_k = _top_k(options.eval_options, top_k, flag="--eval-options")
    check_metrics(options.eval, top_k, multi_label=parsed.config.recipe.multi_label)
    if saves_views and (options.eval or not given):
        raise InputError(
            "--average-clips none: saves the scores of every view, which have no accuracy; give --out alone"
        )
    for note in parsed.config.notes:
        log.info(f"note: {note}")
    evaluation = evaluate_by_config(
        parsed,
        find_weights(options.checkpoint) if is_address(options.checkpoint) else Path(options.checkpoint),
        device=device,
        metrics=options.eval or ([] if saves_views else wanted.metrics or (None if parsed.version == 1 else [])),
        top_k=top_k,
        average=options.average_clips,
        out=Path(given[0][1]) if given else None,
        force=options.force,
    )
    if code := unreadable_code(len(evaluation.bad), "clip"):
        raise SystemExit(code)
    return evaluation


def _check_output(option: str, path: str, *, force: bool, saves_views: bool) -> None:
    out = Path(path)
    check_writable(f"{option} {out}", out, SUFFIXES)
    check_resumable(f"{option} {out}", out, force=force)
    check_out(out, "mmaction2", save_views=saves_views, option=option)


def check_test(parsed: ConfigArguments) -> None:
    """An InputError for a test by a config that would end with one: before a training that it follows."""
    read_clips(parsed, "test")


def evaluate_by_config(
    parsed: ConfigArguments,
    checkpoint: Path,
    *,
    device: str,
    metrics: Sequence[str] | None = None,
    top_k: Sequence[int] = (1, 5),
    average: str | None = None,
    out: Path | None = None,
    force: bool = False,
) -> Evaluation:
    """Test a checkpoint on the test list of a config, print the metrics.

    `metrics` None: those that the classes have.
    """
    saves_views = average == "none"
    recipe = with_average(parsed.config.recipe, None if saves_views else average)
    weights = load_weights(checkpoint, recipe=recipe)
    if what := differing_settings(weights.card.recipe.network, recipe.network):
        raise InputError(
            f"{checkpoint}: has another network than {parsed.given} ({what}); give the config that it was trained by, "
            "with the --cfg-options of that training"
        )
    clips, naming = read_clips(parsed, "test")
    with output.ProgressBar("test") as bar, in_config_words(parsed.version, "test"):
        protocol = EvaluationProtocol(protocol_name(recipe.protocol), recipe)
        (evaluation,) = evaluate_protocols(
            weights,
            clips,
            EvaluationOptions((protocol,), save_views=saves_views, max_bad=1.0, frame_naming=naming),
            compute=ComputeConfig(device, num_workers=parsed.config.num_workers),
            resume=None if out is None else Resume(out, force, "mmaction2"),
            model_name=str(checkpoint),
            on_progress=bar,
        )
    if is_first_rank():
        for bad in evaluation.bad:
            log.error(config_words(bad.reason, parsed.version, "test"))
        output.log_notes(evaluation.clip_notes)
        values = compute_metrics(evaluation)
        if out is not None:
            write_results(out, [(evaluation, values)], out_format="mmaction2")
            finish_log(out, is_complete=not evaluation.bad)
            what = "a vector for each view of each clip" if saves_views else "a vector for each clip"
            log.info(f"scores, {what} in the order of the list: {printable(str(out))}")
        default = ("mean_average_precision",) if evaluation.multi_label else METRICS
        _print_metrics(evaluation, values, default if metrics is None else metrics, top_k, version=parsed.version)
    return evaluation


def _print_metrics(
    evaluation: Evaluation, values: Metrics, metrics: Sequence[str], top_k: Sequence[int], *, version: int
) -> None:
    """The metrics as MMAction2 prints them, and the protocol."""
    if not metrics:
        return
    num_classes = len(evaluation.classes)
    trivial = [k for k in top_k if k > 1 and k >= num_classes]
    for k in trivial if "top_k_accuracy" in metrics else ():
        log.info("top%d is not shown: with %d classes it is 1 for any scores", k, num_classes)
    top_k = [k for k in top_k if k not in trivial]
    numbers = named_metrics(evaluation, values, metrics, top_k=top_k)
    if "per_class" in metrics:
        output.print_classes(evaluation, values, every=True)
    if "confusion" in metrics:
        output.print_confusion(evaluation, values)
    if version == 1:
        renamed = {
            "acc/mean1" if name == "mean_class_accuracy" else f"acc/{name}": value for name, value in numbers.items()
        }
        print("  ".join(f"{name}: {value:.4f}" for name, value in renamed.items()))
    else:
        for name in [name for name in metrics if name not in TABLES]:
            print(f"\nEvaluating {name} ...\n")
            if name == "top_k_accuracy":
                for k in top_k:
                    print(f"top{k}_acc\t{numbers[f'top{k}']:.4f}")
            else:
                print(f"{'mean_acc' if name == 'mean_class_accuracy' else name}\t{numbers[name]:.4f}")
        print("")
        for name, value in numbers.items():
            print(f"{name}_acc: {value:.4f}" if name.startswith("top") else f"{name}: {value:.4f}")
    bad = f", {values.num_bad} unreadable are left out" if values.num_bad else ""
    print(f"of {values.num_clips} clips{bad}")
    print(f"protocol: {printable(evaluation.protocol)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = config_parser(
        "test.py",
        "Test a checkpoint by an MMAction2 config, which is parsed and never executed, or a recipe of i3d.",
        script="dist_test.sh",
        epilog="The same command with --out resumes an interrupted test. `i3d test --help` has more options.",
    )
    add = parser.add_argument
    add("checkpoint", help="a .pth of MMAction2, or a .safetensors of i3d")
    add("--eval", nargs="+", default=[], metavar="METRIC", help="top_k_accuracy, mean_class_accuracy ... (0.x)")
    add("--eval-options", nargs="+", default=[], metavar="KEY=VALUE", help=f"{TOP_K}=1,5")
    add("--options", nargs="+", default=[], metavar="KEY=VALUE", help="the same, of earlier versions")
    add("--out", metavar="FILE", help="the scores of every clip, a .json or .yaml")
    add("--dump", metavar="FILE", help="the same (1.x)")
    add("--average-clips", choices=["prob", "score", "none"], help="how views are averaged (default: as in the config)")
    add("--fuse-conv-bn", action="store_true", help="accepted: it is always done")
    add("--work-dir", "--work_dir", metavar="DIR", help="accepted: nothing but --out is written (1.x)")
    add("--gpu-collect", action="store_true", help="accepted: results are always collected")
    add("--tmpdir", help="accepted: results are not collected through files")
    add("--force", action="store_true", help="replace the results of other tests in --out")
    return parser.parse_args(arguments)


def _top_k(options: Sequence[str], default: Sequence[int], *, flag: str) -> list[int]:
    evaluation: Any = list(default)
    for option in options:
        key, sign, text = option.partition("=")
        if not sign or key not in (TOP_K, TOP_K.removeprefix("metric_options."), "topk"):
            raise InputError(f"{flag} {option!r}: known is {TOP_K}=1,5")
        evaluation = parse_value(text)
        evaluation = [evaluation] if isinstance(evaluation, int) else evaluation
        if not isinstance(evaluation, list) or not all(type(k) is int for k in evaluation):
            raise InputError(f"{flag} {option!r}: write whole numbers with commas, such as 1,5")
    return list(evaluation)
