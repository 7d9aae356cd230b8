"""Streams become one: matched, weighed, swept on held-out clips; and metrics by their names."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.errors import InputError
from i3d.evaluation.fuse import align_evaluations, check_sweep, fuse_scores, hold_out, sweep_weights
from i3d.evaluation.result import BadClip, ViewLogits, compute_metrics, named_metrics
from i3d.evaluation.result_file import read_evaluation, write_evaluations
from i3d.evaluation.scoring import softmax
from support.commands import run_here
from support.evaluations import make_evaluation

LOGITS = {"average": "score", "protocol": "p: 1 clip, logits averaged; fp32"}


def run(*arguments, expected=0):
    result = run_here(["i3d", *arguments])
    assert result.returncode == expected, result
    return result.stderr if expected == 2 else result.stdout


def save(path, evaluation):
    write_evaluations(path, [(evaluation, compute_metrics(evaluation))])
    return path


def stream(labels, seed, *, noise=1.0, **more):
    """Logits that know their class, with noise."""
    rng = np.random.default_rng(seed)
    scores_NK = rng.normal(size=(len(labels), 3)) * noise
    scores_NK[np.arange(len(labels)), labels] += 1
    return make_evaluation(scores_NK, labels, **{**LOGITS, **more})


LABELS = np.arange(60) % 3


def test_logits_are_added_by_hand():
    one, two = stream(LABELS, 0, gflops=3.0), stream(LABELS, 1, num_views_N=(2,) * 60, gflops=4.0)
    fused = fuse_scores([one, two], weights=[1, 2])
    assert np.allclose(fused.scores_NK, one.scores_NK + 2 * two.scores_NK, atol=1e-12)
    assert fused.average == "score"
    assert fused.num_views_N == (3,) * 60
    assert fused.gflops == 7.0
    assert fused.protocol == f"fused, logits added: 1 x ({one.protocol}) + 2 x ({two.protocol})"
    averaged = fuse_scores([one, two], average="prob")
    assert np.allclose(averaged.scores_NK, (softmax(one.scores_NK) + softmax(two.scores_NK)) / 2, atol=1e-12)
    assert averaged.average == "prob"


def test_probabilities_have_no_logits():
    logits = stream(LABELS, 0)
    probabilities = replace(stream(LABELS, 1), scores_NK=softmax(stream(LABELS, 1).scores_NK), average="prob")
    fused = fuse_scores([logits, probabilities], weights=[1, 3])
    assert np.allclose(fused.scores_NK, (softmax(logits.scores_NK) + 3 * probabilities.scores_NK) / 4, atol=1e-12)
    with pytest.raises(InputError, match="no logits to add; test it again with --average-clips score"):
        fuse_scores([logits, probabilities], average="score")


@pytest.mark.slow
@given(st.permutations(range(12)), st.permutations(range(3)), st.lists(st.floats(0.1, 5), min_size=2, max_size=2))
def test_orders_of_clips_and_classes_do_not_matter(order, classes, weights):
    labels = np.arange(12) % 3
    one, two = stream(labels, 0), stream(labels, 1)
    plain = fuse_scores([one, two], weights=weights)
    numbers = [list(classes).index(k) for k in range(3)]
    mixed = replace(
        two.select(list(order)),
        classes=tuple(two.classes[k] for k in classes),
        scores_NK=two.scores_NK[list(order)][:, list(classes)],
        labels_N=tuple((numbers[two.labels_N[n][0]],) for n in order),
    )
    other = fuse_scores([one, mixed], weights=weights)
    assert np.array_equal(other.scores_NK, plain.scores_NK)
    assert other.labels_N == plain.labels_N


def test_videos_meet_folders_of_flow_by_their_names():
    names = {"names_N": tuple(f"run/{n}.mp4 [0 s to {n + 1} s]" for n in range(60))}
    folders = {"names_N": tuple(f"run/{n} [0 s to {n + 1} s]" for n in range(60)), "data": "flow.txt"}
    one, two = stream(LABELS, 0, **names), stream(LABELS, 1, **folders)
    order = list(range(59, -1, -1))
    fused = fuse_scores([one, two.select(order)])
    assert np.array_equal(fused.scores_NK, one.scores_NK + two.scores_NK)
    assert fused.data == "d + flow.txt"
    assert fused.names_N == one.names_N


def test_clips_that_one_stream_could_not_read_are_bad():
    one, two = stream(LABELS, 0), stream(LABELS, 1)
    lacks = replace(
        two.select([n for n in range(60) if n != 7]), bad=(BadClip("f/7", "gone/7.mp4", (1,), "f/7: empty", 7),)
    )
    fused = fuse_scores([one, lacks])
    assert len(fused.files_N) == 59
    assert fused.bad == (BadClip("gone/7.mp4", "gone/7.mp4", (1,), "f/7: empty", 7),)
    other = fuse_scores([lacks, one])
    assert [bad.place for bad in other.bad] == [7]
    assert np.array_equal(other.scores_NK, fused.scores_NK)
    assert compute_metrics(replace(fused, bad_as_wrong=True)).num_clips == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.select(range(50)), "result 2: lacks 10 clips of result 1: gone/50, gone/51, gone/52 ..."),
        (lambda e: replace(e, labels_N=((2,), *e.labels_N[1:])), "gone/0: has other labels in d"),
        (lambda e: replace(e, classes=("class 0", "class 1", "x")), "'class 2' is in one only"),
        (lambda e: replace(e, multi_label=True), "classes are multi-label in one"),
    ],
)
def test_results_that_do_not_match_are_an_error(change, message):
    with pytest.raises(InputError, match=message.replace(".", "[.]")):
        fuse_scores([stream(LABELS, 0), change(stream(LABELS, 1))])


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, 1, 1], [1, float("nan")], [1, float("inf")]])
def test_bad_weights(weights):
    with pytest.raises(InputError, match="give 2 numbers of at least 0"):
        fuse_scores([stream(LABELS, 0), stream(LABELS, 1)], weights=weights)


@pytest.mark.slow
def test_sweep_finds_the_best_of_the_weights_that_it_tries():
    good, bad = stream(LABELS, 0, noise=0.5), stream(LABELS, 1, noise=5)
    sweep = sweep_weights([good, bad])
    assert len(sweep.tried) == 21
    for weights, accuracy in sweep.tried:
        assert sum(weights) == pytest.approx(1)
        scores_NK = fuse_scores([good, bad], weights=weights).scores_NK
        assert accuracy == np.mean(scores_NK.argmax(axis=1) == LABELS)
    assert dict(sweep.tried)[sweep.weights] == max(accuracy for _, accuracy in sweep.tried)
    assert sweep.weights[0] > 0.5
    alike = replace(good, protocol="p: 2 clips, logits averaged; fp32")
    assert sweep_weights([good, alike]).weights == (0.5, 0.5)  # all alike: the middle
    assert len(sweep_weights([few.select(range(6)) for few in (good, bad, alike)]).tried) == 66


def test_held_out_clips_are_not_in_the_metrics():
    files = {"files_N": tuple(f"{n // 2}.mp4" for n in range(60)), "names_N": tuple(f"{n}" for n in range(60))}
    streams = [stream(LABELS, seed, **files) for seed in (0, 1)]
    chosen_on, rest = hold_out(streams, fraction=0.4, seed=3)
    one, other = set(chosen_on[0].files_N), set(rest[0].files_N)
    assert len(one) == 12
    assert len(other) == 18
    assert not one & other  # parts of one file are on one side
    assert chosen_on[0].names_N == chosen_on[1].names_N
    assert hold_out(streams, fraction=0.4, seed=3)[1][0].names_N == rest[0].names_N
    assert hold_out(streams, fraction=0.4, seed=4)[1][0].names_N != rest[0].names_N
    for fraction in (0.0, 1.0):
        with pytest.raises(InputError, match="of 30 files; choose another fraction"):
            hold_out(streams, fraction=fraction)


def test_clips_of_one_name_meet_by_their_places():
    names = ("x.mp4", "x.avi", "my clip [abc].mp4")
    one = stream(LABELS[:3], 0, names_N=names, files_N=names)
    two = stream(LABELS[:3], 1, names_N=("x", "x", "my clip [abc]"), files_N=("f/x", "f/x", "f/m"))
    lacks = replace(two.select([1, 2]), bad=(BadClip("f/x", "x", (0,), "f/x: empty", 0),))
    fused = fuse_scores([one, lacks])
    assert fused.names_N == names[1:]
    assert np.array_equal(fused.scores_NK, one.scores_NK[1:] + two.scores_NK[1:])
    assert [(bad.name, bad.place) for bad in fused.bad] == [("x.mp4", 0)]


def test_logits_of_views_are_added_too():
    one, two = stream(LABELS, 0), stream(LABELS, 1)
    views = tuple(ViewLogits(np.stack([row + 1, row - 1]), (3, 3)) for row in two.scores_NK)
    raw = replace(two, views_N=views, average="prob", scores_NK=softmax(two.scores_NK))
    assert np.allclose(fuse_scores([one, raw]).scores_NK, one.scores_NK + two.scores_NK)
    assert fuse_scores([one, raw], average="prob").average == "prob"


def test_halves_contain_their_own_bad_clips():
    one, two = stream(LABELS, 0), stream(LABELS, 1)
    bad = tuple(BadClip(f"bad{k}.mp4", f"bad{k}.mp4", (0,), "empty", 60 + k) for k in range(6))
    sides = hold_out([replace(one, bad=bad), replace(two, bad=bad)], fraction=0.5, seed=1)
    assert sum(len(side[0].bad) for side in sides) == 6
    for side in sides:
        assert side[0].bad == side[1].bad
        num_clips = len(side[0].files_N) + len(side[0].bad)
        assert all(clip.place < num_clips for clip in side[0].bad)
        assert compute_metrics(replace(side[0], bad_as_wrong=True)).num_clips == num_clips


def test_weights_are_not_chosen_on_the_reported_clips():
    one, two = stream(LABELS, 0), stream(LABELS, 1, weights_sha256="ff")
    elsewhere = [replace(e, files_N=tuple(f"other/{n}" for n in range(60))) for e in (one, two)]
    for chosen_on in ([one, two], elsewhere):  # the same files; the same names in another place
        with pytest.raises(InputError, match="60 clips are in both"):
            check_sweep(chosen_on, [one, two])
    others = [replace(e, names_N=tuple(f"val/{n}" for n in range(60))) for e in elsewhere]
    check_sweep(others, [one, two])
    with pytest.raises(
        InputError, match="--sweep-on 1: is of other weights than result 1; give them in the same order"
    ):
        check_sweep(others[::-1], [one, two])


def test_a_result_is_not_fused_with_itself(tmp_path):
    """The same file by two names, a copy, and one whose clips come in another order."""
    one, two = stream(LABELS, 0), stream(LABELS, 1)
    file = save(tmp_path / "a.json", one)
    copy = save(tmp_path / "b.yaml", one)
    turned = {name: getattr(one, name)[::-1] for name in ("files_N", "names_N", "labels_N", "num_views_N", "scores_NK")}
    save(tmp_path / "c.json", replace(one, **turned))
    (tmp_path / "link.json").symlink_to(file)
    assert run("fuse", file, file, expected=2) == f"error: {file}: is given twice; give the result of another stream\n"
    for other in (tmp_path / "link.json", copy, tmp_path / "c.json"):
        message = f"error: {other}: has the same clips and scores as {file}; give the result of another stream\n"
        assert run("fuse", file, save(tmp_path / "d.json", two), other, expected=2) == message
    with pytest.raises(InputError, match="result 2: has the same clips and scores as result 1"):
        fuse_scores([one, one])


def test_a_result_without_a_digest_is_refused_in_plain_words(tmp_path):
    file = save(tmp_path / "a.json", stream(LABELS, 0))
    file.write_text(re.sub(r'"digest": "\w+",', "", file.read_text()))
    assert "has no digest, so that nobody can check that its scores are those of a test" in run(
        "score", file, expected=2
    )


def test_one_result_is_no_fusion():
    with pytest.raises(InputError, match="two results or more"):
        align_evaluations([stream(LABELS, 0)])


# commands


@pytest.fixture
def files(tmp_path):
    one, two = stream(LABELS, 0, classes=("a", "b", "c")), stream(LABELS, 1, classes=("a", "b", "c"))
    return save(tmp_path / "rgb.json", one), save(tmp_path / "flow.json", two)


def test_the_command_fuse(files, tmp_path):
    rgb, flow = files
    out = run(
        "fuse", rgb, flow, "--stream-weights", "1,2", "--out", tmp_path / "f.json", "--report", tmp_path / "f.html"
    )
    fused = fuse_scores([read_evaluation(rgb), read_evaluation(flow)], weights=[1, 2])
    assert np.array_equal(read_evaluation(tmp_path / "f.json").scores_NK, fused.scores_NK)
    row = next(line.split() for line in out.splitlines() if line.startswith(" fused"))
    assert float(row[1]) == pytest.approx(compute_metrics(fused).top1, abs=1e-4)
    assert f"protocol: {fused.protocol}" in out
    assert "fused" in (tmp_path / "f.html").read_text()
    assert "the file exists" in run("fuse", rgb, flow, "--out", tmp_path / "f.json", expected=2)
    output = json.loads(run("fuse", rgb, flow, "--json"))
    assert output["weights"] == [1, 1]
    assert len(output["streams"]) == 2
    assert output["fused"]["top1"] == compute_metrics(fuse_scores([read_evaluation(rgb), read_evaluation(flow)])).top1


@pytest.mark.slow
def test_the_command_sweeps_on_held_out_clips(files, tmp_path):
    rgb, flow = files
    output = json.loads(run("fuse", rgb, flow, "--stream-weights", "sweep", "--sweep-fraction", "0.25", "--json"))
    streams = [read_evaluation(path) for path in files]
    chosen_on, rest = hold_out(streams, fraction=0.25)
    assert output["weights"] == list(sweep_weights(chosen_on).weights)
    assert output["swept_on_clips"] == 15
    assert output["fused"]["num_clips"] == 45
    assert output["fused"]["top1"] == compute_metrics(fuse_scores(rest, weights=output["weights"])).top1
    assert "the best on 30 held-out clips, which are not in the table" in run(
        "fuse", *files, "--stream-weights", "sweep"
    )
    val = [
        save(
            tmp_path / f"val{k}.json",
            stream(LABELS, 5 + k, classes=("a", "b", "c"), files_N=tuple(map(str, range(60)))),
        )
        for k in (0, 1)
    ]
    options = ("--stream-weights", "sweep", "--sweep-on", val[0], "--sweep-on", val[1], "--json")
    output = json.loads(run("fuse", rgb, flow, *options))
    assert output["weights"] == list(sweep_weights([read_evaluation(path) for path in val]).weights)
    assert output["fused"]["num_clips"] == 60
    message = run("fuse", rgb, flow, "--stream-weights", "sweep", "--sweep-on", rgb, "--sweep-on", flow, expected=2)
    assert "60 clips are in both, such as " in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stream-weights", "x,1"], "write numbers with commas"),
        (["--stream-weights", "1"], "give 2 numbers"),
        (["--sweep-on", "a.json"], "is for --stream-weights sweep"),
        (["--stream-weights", "sweep", "--sweep-on", "a.json"], "give one for each"),
        (["--fuse-average", "max"], "is not one of score, prob"),
        (["--protocol", "9x9"], "has no protocol '9x9'; it has 1x1"),
    ],
)
def test_bad_options_of_fuse(files, options, message):
    assert message in run("fuse", *files, *options, expected=2)
    assert "two results or more" in run("fuse", files[0], expected=2)


def test_the_command_score(files, tmp_path):
    evaluation = read_evaluation(files[0])
    computed = compute_metrics(evaluation)
    out = run("score", files[0])
    assert f"top-1 {computed.top1:.4f}" in out
    assert json.loads(run("score", files[0], "--json"))["top1"] == computed.top1
    metrics = "top_k_accuracy,mean_class_accuracy,calibration_error,per_class,confusion"
    out = run("score", files[0], "--metrics", metrics, "--top-k", "1,2", "--out", tmp_path / "again.yaml")
    numbers = named_metrics(evaluation, computed, metrics.split(","), top_k=[1, 2])
    assert list(numbers) == ["top1", "top2", "mean_class_accuracy", "calibration_error"]
    for name, value in numbers.items():
        assert f"{name} {value:.4f}" in out
    assert "fraction of the class" in out
    assert read_evaluation(tmp_path / "again.yaml").scores_NK.tolist() == evaluation.scores_NK.tolist()
    output = json.loads(run("score", files[0], "--metrics", "top_k_accuracy,per_class,confusion", "--json"))
    assert output["top1"] == computed.top1
    assert output["confusion"] == computed.confusion_KK.tolist()
    assert [row["class"] for row in output["by_class"]] == ["a", "b", "c"]
    assert output["num_bad"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "accuracy"], "metric 'accuracy': choose from top_k_accuracy, mean_class_accuracy"),
        (["--metrics", "mean_average_precision"], "is defined for multi-label classes; these are single-label"),
        (["--top-k", "0"], "must be at least 1"),
        (["--top-k", "one"], "write whole numbers with commas"),
        (["--report", "x.pdf"], "the name must end in .html"),
    ],
)
def test_bad_options_of_score(files, options, message):
    assert message in run("score", files[0], *options, expected=2)


def test_bad_clips_count_as_wrong_in_every_metric():
    e = replace(stream(LABELS, 0), bad=tuple(BadClip("x", "x", (k % 3,), "gone", 60 + k) for k in range(15)))
    names = ("top_k_accuracy", "mean_class_accuracy")
    plain, wrong = (
        named_metrics(e, compute_metrics(replace(e, bad_as_wrong=is_wrong)), names) for is_wrong in (False, True)
    )
    for name in ("top1", "top5", "mean_class_accuracy"):
        assert wrong[name] == pytest.approx(plain[name] * 60 / 75)
