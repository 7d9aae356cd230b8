"""The report of a fine-tuning: one page that holds everything, also where nothing was held out."""

import json
import re

import pytest

import i3d.training.run
from support.finetuning_runs import make_folder, save_tiny, train, write_csv
from support.pages import Page

FAST = ("--head", "prototype", "--precision", "fp32", "--views", 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    make_folder(root / "clips", ("a<b>", "b&c"), 6)
    (root / "clips/a<b>/broken.mp4").write_bytes(b"no video at all" * 100)
    save_tiny(root / "tiny.safetensors")
    return root


def page_of(root, work_dir, *more, data="clips"):
    output = train(root / data, root / work_dir, root / "tiny.safetensors", *FAST, *more, draw=True)
    text = (root / work_dir / "report.html").read_text(encoding="utf-8")
    record = json.loads((root / work_dir / "finetune.json").read_text())
    return output, text, Page(text), record


def sections(page):
    return [attributes["id"] for tag, attributes in page.tags if tag == "section"]


def test_the_page_holds_the_plan_the_data_the_results_the_labels_and_the_next_steps(root):
    output, text, page, record = page_of(root, "W")
    assert sections(page) == [
        "next", "results", "labels", "data", "plan", "confusion", "calibration", "classes", "errors", "environment",
        "images",
    ]  # fmt: skip
    targets = {value.removeprefix("#") for value in page.values("href")}
    assert targets <= set(page.values("id"))
    (plan,) = (table for table in page.tables if table[0] == ["Flag", "Value", "Reason"])
    assert plan[1:] == [[d["flag"], d["value"], d["reason"]] for d in record["decisions"]]
    (results,) = (table for table in page.tables if table[0][0] == "Tested on")
    assert [row[0] for row in results[1:]] == [
        "Held-out clips (split val)", "Cross-validation of the classifier in 5 folds",
    ]  # fmt: skip
    assert [row[3] for row in results[1:]] == ["2", "12"]
    assert "Cross-validation of the classifier in 5 folds Top-1 accuracy" in page.text
    assert "1 unreadable clip is left out" in page.text
    assert page.text.count("a<b>/broken.mp4") == 1
    assert "Overfit check the classifier fits 8 clips, 100 % correct" in page.text
    assert "Classifier class means (prototypes), temperature" in page.text
    for words in ("PyTorch", "of the command that completed the run", "i3d train --data"):
        assert words in page.text, words
    for step in record["next_steps"]:
        assert f"next: {step}" in output
        assert all(part in page.text for part in step.rsplit(": ", 1))
    assert not re.search(r"https?://|url\(", text)
    assert text.index('id="next"') < text.index('id="confusion"')


def test_labels_that_look_wrong_and_are_not_shown_are_counted(root, monkeypatch):
    """Two clips of each class have the label of the other one."""
    monkeypatch.setattr("i3d.finetuning.report.MAX_LABELS", 1)
    monkeypatch.setattr("i3d.finetuning.report.FEW_LABELS", 1)
    rows = [f"{name}/{i}.mp4,{other if i < 2 else name}" for name, other in (("a<b>", "b&c"), ("b&c", "a<b>"))
            for i in range(6)]  # fmt: skip
    write_csv(root / "clips/swapped.csv", rows)
    _, _, page, record = page_of(root, "swapped", "--no-overfit-check", data="clips/swapped.csv")
    num_wrong = record["labels"]["num_wrong"]
    assert num_wrong > 1
    assert f"of those that look wrong are shown here, and {num_wrong - 1} more are in labels.csv." in page.text


def test_a_complete_run_does_not_change_its_page(root):
    page_of(root, "again")
    before = (root / "again/report.html").read_bytes()
    page_of(root, "again")
    assert (root / "again/report.html").read_bytes() == before


def test_without_a_test_the_page_is_written_too(root):
    output, _, page, record = page_of(root, "none", "--val-fraction", 0, "--cv-folds", 0, "--no-overfit-check")
    assert sections(page) == ["next", "results", "labels", "data", "plan", "environment", "images"]
    assert "No clip was held out: the accuracy of the model is unknown." in page.text
    assert "They were not checked: --cv-folds 0" in page.text
    assert "Overfit check not made" in page.text
    assert "--cv-folds 5" in page.text
    assert "metrics" not in record
    assert f"report: {root / 'none'}/report.html" in output


@pytest.mark.slow
def test_folds_and_several_labels_have_pages(root):
    rows = [f"{name}/{i}.mp4,{('a', 'b', 'a|b')[i % 3]}" for name in ("a<b>", "b&c") for i in range(6)]
    write_csv(root / "clips/many.csv", rows)
    more = ("--multi-label", "--head", "linear", "--cv-folds", 2, "--no-overfit-check")
    _, _, page, record = page_of(root, "many", *more, data="clips/many.csv")
    assert "Cross-validation of the training in 2 folds Mean average precision" in page.text
    assert "--cv-folds" not in " ".join(record["next_steps"])
    _, _, page, record = page_of(root, "folds", "--cv-folds", 3, "--no-overfit-check")
    accuracies = ", ".join(f"{100 * value:.1f} %" for value in record["fold_accuracies"])
    assert f"Accuracy of each fold: {accuracies}; mean" in page.text


@pytest.mark.slow
def test_layers_have_their_curves(root, monkeypatch):
    monkeypatch.setattr(i3d.training.run, "validate", lambda *_, **__: ({"top1": 0.5}, 2))  # a perfect start ends it
    more = ("--train-layers", "last", "--epochs", 1, "--lr", 0.0001, "--no-overfit-check")
    _, _, page, _ = page_of(root, "last", *more)
    assert "curves" in sections(page)
    assert "Trained the classifier and the last stage" in page.text
    assert "Training clips" not in page.text  # their accuracy by the final weights is not known
    assert re.search(r"Layers top-1 accuracy on validation clips: [\d.]+ % before they were trained", page.text)
