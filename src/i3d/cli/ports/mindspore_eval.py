"""The MindSpore port's `run_standalone_eval.sh`: 64 sorted random frames of each clip, fixed by the seed."""

import json
import shlex
from pathlib import Path
from typing import Final

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import DatasetOptions
from i3d.cli.output_files import check_writable
from i3d.cli.ports.background import check_log
from i3d.cli.ports.launch import choose_device
from i3d.cli.ports.mindspore_config import changes_of
from i3d.cli.ports.mindspore_request import Request, check_weights
from i3d.cli.run.setup import read_dataset
from i3d.data.annotations import Annotations
from i3d.data.resume import Resume, finish_log
from i3d.errors import InputError, printable
from i3d.evaluation.evaluate import evaluate_protocols
from i3d.evaluation.exports import write_results
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.evaluation.scorer import EvaluationOptions, EvaluationProtocol
from i3d.recipes.names import MINDSPORE
from i3d.recipes.protocols import with_protocol, with_test_settings
from i3d.utils.atomic_files import write_atomically
from i3d.utils.device import ComputeConfig
from i3d.utils.outputs import check_new, check_resumable
from i3d.weights.checkpoint import is_checkpoint
from i3d.weights.load import Weights, load_weights
from i3d.weights.pretrained import PRETRAINED

FOLDER: Final = Path("eval")
GIVEN: Final = "as given"  # class names, to `load_weights`
LOG: Final = FOLDER / "eval.log"


def evaluate(request: Request) -> int:
    """Score the split of the config; eval/eval.log has the result, eval/NAME.json the scores. The exit code."""
    check_weights(request.weights, may_be_random=False)
    if (request.ranks or 1) > 1:
        raise InputError(f"--ranks {request.ranks}: this script evaluates in one process; use torchrun -m i3d test")
    out = FOLDER / f"{Path(request.weights).stem}.json"
    check_log(LOG, force=request.force)
    FOLDER.mkdir(exist_ok=True)
    check_writable(str(out), out, (".json",))
    check_resumable(str(out), out, force=request.force)
    config, device = request.config, choose_device(request.wanted, request.device)
    clips = read_dataset(request.data, DatasetOptions(split=config.test_split))
    weights = _with_classes_of(clips, request.weights)
    converted = _write_classes(out, weights.card.labels, request) if weights.labels_from == GIVEN else []
    recipe = with_protocol(weights.card.recipe, MINDSPORE)
    settings = changes_of(config.test_settings, recipe)
    recipe = with_test_settings(recipe, list(settings))
    with output.ProgressBar("test") as bar:
        (evaluation,) = evaluate_protocols(
            weights,
            clips,
            EvaluationOptions((EvaluationProtocol(MINDSPORE, recipe),)),
            compute=ComputeConfig(device, num_workers=config.num_test_workers),
            resume=Resume(out, request.force, "i3d"),
            model_name=request.weights,
            on_progress=bar,
        )
    for bad in evaluation.bad:
        log.error(bad.reason)
    tested = converted[2] if converted else request.weights
    words = ["test", tested, "--data", str(request.data), "--split", config.test_split, "--protocols", MINDSPORE]
    words += ["--device", device, *(word for setting in settings for word in ("--set", setting))]
    lines = _result_lines(evaluation)
    write_results(out, [(evaluation, compute_metrics(evaluation))], out_format="i3d")
    finish_log(out, is_complete=not evaluation.bad)
    typed = [f"$ i3d {shlex.join(each)}" for each in (converted, words) if each]
    write_atomically(LOG, "".join(f"{line}\n" for line in (*typed, *lines)).encode())
    print("\n".join(lines))
    log.info("the result is in %s, all scores are in %s", LOG, printable(str(out)))
    return 3 if evaluation.bad else 0


def _with_classes_of(clips: Annotations, name: str) -> Weights:
    """The weights; a checkpoint without class names gets those of the data set in its order, as the port numbers."""
    weights = load_weights(name)
    if name in PRETRAINED or is_checkpoint(Path(name)) or weights.labels_from == "in the file":
        return weights
    num_classes = len(weights.card.labels)
    if num_classes == len(clips.classes):
        log.info("note: class k of %s is class k of the data set, as in the port", printable(name))
        return load_weights(name, labels=clips.classes)
    log.info("note: %s has %d classes, the data set %d: class names are assumed (%s)", printable(name), num_classes,
             len(clips.classes), weights.labels_from)  # fmt: skip
    return weights


def _write_classes(out: Path, classes: tuple[str, ...], request: Request) -> list[str]:
    """Write the class names of the data set beside the scores; the words of `i3d convert` that gives them a checkpoint.

    `i3d test` matches classes by name, and this checkpoint has no names.
    """
    path = out.with_name(f"{out.stem}_classes.json")
    content = f"{json.dumps(classes, ensure_ascii=False)}\n".encode()
    is_same = path.is_file() and not path.is_symlink() and path.read_bytes() == content
    check_new(str(path), path, force=request.force or is_same)
    write_atomically(path, content)
    return ["convert", request.weights, str(out.with_suffix(".safetensors")), "--classes", str(path)]


def _result_lines(evaluation: Evaluation) -> list[str]:
    """The result as the port prints it, and how it was measured."""
    metrics = compute_metrics(evaluation)
    values = {"Top_1_Accuracy": metrics.top1, "Top_5_Accuracy": metrics.top5}
    shown = str({name: value for name, value in values.items() if value is not None})
    bad = f", {metrics.num_bad} unreadable are left out" if metrics.num_bad else ""
    why = f"Top_5_Accuracy is not shown: with {len(evaluation.classes)} classes it is 1 for any scores"
    lines = [shown, f"of {metrics.num_clips} clips{bad}", f"protocol: {evaluation.protocol}"]
    return lines if metrics.top5 is not None else [*lines, why]
