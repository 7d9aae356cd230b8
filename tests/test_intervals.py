"""Confidence intervals: their coverage, and that none is shown without a width."""

import re
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.cli.output.evaluations import print_evaluation, print_fusion, print_protocols
from i3d.evaluation.frame_orders import summarize_frame_orders
from i3d.evaluation.intervals import format_interval, paired_interval, precision_interval, proportion_interval
from i3d.evaluation.metrics import mean_average_precision
from i3d.evaluation.report import write_report
from i3d.evaluation.result import BadClip, compute_metrics
from i3d.finetuning.diagnosis import diagnose
from support.evaluations import make_evaluation

INTERVAL = re.compile(r"(-?\d+(?:\.\d+)?) to (-?\d+(?:\.\d+)?)")


def test_published_values_of_wilsons_interval():
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    for right, number, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert proportion_interval(right, number) == pytest.approx((low, high), abs=5e-5)
    assert proportion_interval(29, 29) == pytest.approx((1 - 0.1170, 1), abs=5e-5)
    with pytest.raises(ValueError, match="3 of 2"):
        proportion_interval(3, 2)


@given(st.integers(1, 10_000), st.data())
def test_a_proportion_lies_in_its_interval_which_shrinks_and_has_a_width(number, data):
    right = data.draw(st.sampled_from([0, number, data.draw(st.integers(0, number))]))
    low, high = proportion_interval(right, number)
    assert 0 <= low <= right / number <= high <= 1
    wide = proportion_interval(4 * right, 4 * number)
    assert 0 < wide[1] - wide[0] < high - low


@pytest.mark.parametrize("number", [16, 24, 76])
@pytest.mark.parametrize("truth", [0.8, 0.95, 0.5])
def test_wilson_covers_the_truth(number, truth):
    chances = [comb(number, right) * truth**right * (1 - truth) ** (number - right) for right in range(number + 1)]
    ends = [proportion_interval(right, number) for right in range(number + 1)]
    covered = sum(chance for chance, (low, high) in zip(chances, ends, strict=True) if low <= truth <= high)
    assert 0.91 < covered < 0.99


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_difference_of_the_same_clips_lies_in_its_interval_which_has_a_width(pairs):
    one, other = (np.array(column, bool) for column in zip(*pairs, strict=True))
    low, high = paired_interval(one, other)
    assert -1 - 1e-9 <= low <= one.mean() - other.mean() <= high <= 1 + 1e-9
    assert high - low > 1e-3
    assert paired_interval(other, one) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("both", "first", "second"), [(0.6, 0.3, 0.05), (0.9, 0.0, 0.0), (0.45, 0.05, 0.05)])
def test_the_interval_of_a_difference_covers_the_truth(both, first, second):
    rng = np.random.default_rng(1)
    counts = rng.multinomial(40, [both, first, second, 1 - both - first - second], size=600)
    covered = []
    for row in counts:
        one, other = (np.repeat(cells, row) for cells in ([True, True, False, False], [True, False, True, False]))
        low, high = paired_interval(one, other)
        covered.append(low <= first - second <= high)
    assert np.mean(covered) > 0.925


def test_the_interval_of_the_mean_average_precision():
    rng = np.random.default_rng(0)
    targets_NK = (rng.random((200, 3)) < 0.4).astype(int)
    scores_NK = targets_NK + rng.normal(size=(200, 3))
    low, high = precision_interval(scores_NK, targets_NK)
    assert 0.5 < low < mean_average_precision(scores_NK, targets_NK) < high < 1
    assert precision_interval(scores_NK, targets_NK) == (low, high)
    assert precision_interval([[1.0], [0.0]], [[1], [0]]) is None


@given(st.integers(1, 10**7), st.data(), st.integers(0, 4))
def test_ends_are_rounded_outwards(number, data, digits):
    right = data.draw(st.sampled_from([0, number, data.draw(st.integers(0, number))]))
    interval = proportion_interval(right, number)
    low, high = (float(end) for end in format_interval(interval, digits=digits).split(" to "))
    assert low <= interval[0] + 1e-8
    assert interval[1] - 1e-8 <= high
    assert low < high


def printed(evaluations, tmp_path, capsys):
    """Everything that prints an interval of these evaluations."""
    tested = [(e, compute_metrics(e)) for e in evaluations]
    first, metrics = tested[0]
    print_evaluation(first, metrics)
    print_protocols(tested)
    print_fusion(tested, [str(i) for i in range(len(tested))], None)
    print(*diagnose(first, metrics, train_top1=1.0, issues=()), sep="\n")
    if not first.multi_label:
        order = summarize_frame_orders({"forward": first, "reversed": first})
        print(order.conclusions, format_interval(order.drop_intervals["reversed"]))
    write_report(tmp_path / "r.html", first, others=evaluations[1:])
    page = re.sub(r"<(style|script)>.*?</\1>", "", (tmp_path / "r.html").read_text(), flags=re.DOTALL)
    return capsys.readouterr().out + page


@pytest.mark.parametrize("multi_label", [False, True], ids=["single", "several"])
@pytest.mark.parametrize("number", [1, 2, 16, 300])
@pytest.mark.parametrize("right", [0, 0.5, 1])
def test_no_output_shows_an_interval_without_width(number, right, multi_label, tmp_path, capsys):
    labels = [n % 2 for n in range(number)]
    predicted = [label if n < right * number else 1 - label for n, label in enumerate(labels)]
    evaluation = replace(make_evaluation(np.eye(2)[predicted] * 0.8 + 0.1, labels), multi_label=multi_label)
    shown = INTERVAL.findall(printed([evaluation, evaluation], tmp_path, capsys))
    assert shown or multi_label
    assert not [ends for ends in shown if float(ends[0]) >= float(ends[1])]


def test_all_outputs_show_one_interval_for_one_number(tmp_path, capsys):
    labels = [n % 2 for n in range(16)]
    evaluation = make_evaluation(np.eye(2)[labels], labels)
    assert compute_metrics(evaluation).interval == proportion_interval(16, 16)
    text = printed([evaluation, evaluation], tmp_path, capsys)
    drop = format_interval(paired_interval(*[np.ones(16, bool)] * 2))
    assert set(INTERVAL.findall(text.replace(drop, ""))) <= {("0.806", "1.000"), ("80.6", "100.0"), ("80", "100")}


def test_unreadable_clips_count_in_the_interval():
    labels = [0, 1] * 8
    evaluation = make_evaluation(np.eye(2)[labels], labels)
    bad = replace(evaluation, bad=(BadClip("x.mp4", "x.mp4", (0,), "gone", 16),))
    assert compute_metrics(replace(bad, bad_as_wrong=True)).interval == proportion_interval(16, 17)
    assert compute_metrics(bad).interval == proportion_interval(16, 16)
