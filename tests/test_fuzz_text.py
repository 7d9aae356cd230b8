"""Damaged lists, class files and result files: each mutant is read as it stands, or refused in one line.

A mutant differs from a sound file in one to three places, drawn by its number. Of a list, each line that is unchanged
must give the clip that it gives in the sound file, no line may vanish, and only warnings may report a difference.
"""

import json
import random
import re

import pytest

from i3d.data.class_files import read_labels
from i3d.data.formats.inputs import expand_inputs
from i3d.data.formats.read import read_annotations
from i3d.errors import I3DError
from i3d.evaluation.fuse import fuse_scores
from i3d.evaluation.result import compute_metrics
from i3d.evaluation.result_file import read_evaluations, write_evaluations
from support.evaluations import make_evaluation
from support.fuzzing import rounds

pytestmark = pytest.mark.fuzz
JUNK = "\0\t\n\r ,;:|\"'#-./\\019azé日\u200b\ufeff{}[]"
HEAD = "label,youtube_id,time_start,time_end,split\n"
LISTS = {
    "videos.txt": "a/b 1.mp4 0\nc.avi 1\n\nd e.webm 2\nf.mp4 1\n",
    "names.txt": "a.mp4 running\nb.mp4 jumping\nc d.mp4 high jump\ne.mp4 running\n",
    "several.txt": "a.mp4 0 3\nb.mp4 1\nc.mp4 2 0 1\nd.mp4 3\n",
    "frames.txt": "a b/c 120 0\nd 30 1\ne 12 99 2\nf 17 1\n",
    "offsets.txt": "a 0 120 0\na 120 30 1\nb 3 9 2\n",
    "table.csv": "path,label,start,end,split,group\na.mp4,run,0.5,2,train,p1\n\"b, c.mp4\",walk,,1,val,p2\n"
    "d.mp4,run,,,val,p3\n",
    "numbers.csv": "path,label\na.mp4,0\nb.mp4,2\nc.mp4,1\n",
    "named.csv": "path;label_name\na.mp4;0\nb.mp4;run\nc.mp4;10\n",
    "table.tsv": "video\tclass\tsubset\na.mp4\trun\ttraining\nb.mp4\twalk\tvalidation\n",
    "several.csv": "path,label\na.mp4,run|walk\nb.mp4,hop\nc.mp4,walk\n",
    "table.jsonl": '{"path": "a.mp4", "label": "run"}\n{"path": "b.mp4", "label": "walk", "split": "val"}\n'
    '{"path": "c.mp4", "label": "3", "start": 1.5, "end": null}\n',
    "numbers.jsonl": '{"path": "a.mp4", "label": 1}\n{"path": "b.mp4", "label": 0}\n',
    "kinetics.csv": f"{HEAD}run,abc,1,11,train\nhigh jump,d-_f,2,12,val\nrun,xyz,100,110,train\n",
    "trainlist01.txt": "A/v_A_g08_c01.avi 1\nA/v_A_g08_c02.avi 1\nB/v_B_g01_c01.avi 2\n",
    "A_test_split1.txt": "a b.avi 1\nc.avi 2\nd.avi 0\n",
    "something-v1.csv": "100218;Throwing something; then catching it\n7;Folding something\n9;Folding something\n",
    "something-v2.json": '[{"id": "1", "label": "folding x", "template": "folding [x]"},\n'
    '{"id": "2", "label": "holding y"}]',
}  # fmt: skip
BESIDE = {"classInd.txt": "1 A\n2 B\n", "numbers.classes.txt": "run\nwalk\nhop\n"}
CLASSES = {
    "names.txt": "run\nhigh jump\nwalk\n", "behind.txt": "run 1\nwalk 0\nhop 2\n", "tab.txt": "3\t0\n1\t1\n7\t2\n",
    "before.csv": "0,run\n1,high jump\n2,walk\n", "header.csv": "id,name\n0,run\n1,walk\n2,hop\n",
    "colon.txt": "0: run\n1: walk\n2: hop\n", "numbers.json": '{"run": 0, "walk": 1, "hop": 2}',
    "names.json": '{"0": "run", "1": "walk", "2": "hop"}', "list.json": '["run", "walk", "hop"]',
}  # fmt: skip
PREDICTED = {
    "paths.txt": "a.mp4\nb c.mp4\nd.mp4 1\n", "mmaction2.txt": "a.mp4 1\nb c.mp4 0\nframes 30 2\n",
    "paths.csv": "path,label\na.mp4,run\nb c.mp4,walk\n", "paths.tsv": "label\tfile\nrun\ta.mp4\nwalk\tb c.mp4\n",
}  # fmt: skip


def mutated(content, number):
    """The text with one to three changes, drawn by the number of the mutant."""
    rng = random.Random(number)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content = rng.choice(CHANGES)(content, rng)
    return content


def _at(content, rng, new, *, remove=0):
    place = rng.randrange(len(content) + 1)
    return content[:place] + new + content[place + remove :]


def _lines(content, rng, change):
    lines = content.split("\n")
    change(lines, rng.randrange(len(lines)))
    return "\n".join(lines)


CHANGES = [
    lambda text, rng: _at(text, rng, rng.choice(JUNK)),
    lambda text, rng: _at(text, rng, rng.choice(JUNK), remove=1),
    lambda text, rng: _at(text, rng, "", remove=rng.choice([1, 1, 2, 5])),
    lambda text, rng: _at(text, rng, str(rng.choice([-1, 0, 7, 1 << 31, 10**12, 1.5, "nan", "1e9", "٣"]))),
    lambda text, rng: _at(text, rng, chr(ord(rng.choice(text or "x")) ^ 1 << rng.randrange(7)), remove=1),
    lambda text, rng: text[: rng.randrange(len(text) + 1)],
    lambda text, rng: _lines(text, rng, lambda lines, k: lines.insert(k, rng.choice(lines))),
    lambda text, rng: _lines(text, rng, lambda lines, k: lines.pop(k)),
    lambda text, rng: _lines(text, rng, lambda lines, k: lines.insert(0, lines.pop(k))),
    lambda text, rng: _lines(text, rng, lambda lines, k: lines.insert(k, lines[k - 1] + lines.pop(k))),
    lambda text, rng: text.replace("\n", rng.choice(["\r\n", "\r", "\n\n", " \n"])),
    lambda text, rng: text.swapcase() if rng.random() < 0.2 else _at(text, rng, "\n"),
    lambda text, rng: text.replace(rng.choice(',;\t :"0'), rng.choice(",;\t :'1")),
]


def clips(annotations):
    """{line: what it gives}; the classes by name."""
    rows = {}
    for clip in annotations:
        labels = tuple(annotations.classes[label] for label in clip.labels)
        part = (clip.start_seconds, clip.end_seconds, clip.first_frame, clip.num_frames)
        rows.setdefault(clip.line, []).append((clip.path, labels, part, clip.split, clip.group))
    return rows


def lines_of(text):
    return dict(enumerate(re.split("\r\n|\r|\n", text.removeprefix("\ufeff")), start=1))


def read_list(path):
    several, offsets = path.name.startswith("several"), path.name.startswith("offsets")
    return read_annotations(path, multi_label=several, format="frames-offset" if offsets else "auto")


def written(folder, name, text):
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    return folder / name


def refused(read, *arguments):
    """(result, None), or (None, the error), which is one of ours and one line."""
    try:
        return read(*arguments), None
    except I3DError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1500
        return None, error


def check_list(folder, name, number):
    base, text = LISTS[name], mutated(LISTS[name], number)
    sound = clips(read_list(written(folder, name, base)))
    annotations, error = refused(read_list, written(folder, name, text))
    if error is not None or any("not read" in warning for warning in annotations.warnings):
        return
    if name.endswith(".json"):
        assert len(annotations) == len(json.loads(text))
        return
    rows, before, after = clips(annotations), lines_of(base), lines_of(text)
    expected = {line: sound[number] for number, line in before.items() if number in sound}
    silent = {line for number, line in before.items() if number not in sound}  # headers, clips of no split
    for at, line in after.items():
        if line in expected:
            assert rows.get(at) == expected[line], (line, text)
        elif line.strip(" ,;\t") and line not in silent and not line.strip().startswith("# "):
            is_part = '"' in text or (name.startswith("A_") and line.rstrip().endswith("0"))  # quoted; of no split
            assert at in rows or is_part or at == 1, (line, text)


def check_classes(folder, name, number):
    text = mutated(CLASSES[name], number)
    names, _ = refused(read_labels, written(folder, name, text))
    if names is None:
        return
    if name.endswith(".json"):
        assert len(names) == len(json.loads(text))
    else:
        num_lines = len(lines_of(text.rstrip()))
        assert len(names) in (num_lines, num_lines - 1), text
        assert len(names) == num_lines or any(word in text.lower() for word in ("id", "name"))
    if name.split(".")[0] not in ("names", "tab"):
        as_they_were = set(lines_of(CLASSES[name]).values()) - {"id,name"}
        assert len(set(names) & as_they_were) < 2, text  # `0: run` is no name


def check_predicted(folder, name, number):
    text = mutated(PREDICTED[name], number)
    for video in ("a.mp4", "b c.mp4", "d.mp4"):
        (folder / video).touch()
    paths, _ = refused(expand_inputs, [str(written(folder, name, text))])
    if paths is not None and name.endswith(".txt"):
        assert len(paths) == len([line for line in lines_of(text).values() if line.strip()])


def results(folder):
    """Files of two streams as `i3d test --out` writes them: probabilities, and both formats."""
    files = []
    for name, seed in (("a.json", 0), ("b.yaml", 1)):
        rng = random.Random(seed)
        rows = [[rng.random() for _ in range(3)] for _ in range(4)]
        evaluation = make_evaluation([[x / sum(row) for x in row] for row in rows], [0, 1, 2, 0])
        write_evaluations(folder / name, [(evaluation, compute_metrics(evaluation))])
        files.append((folder / name, (folder / name).read_text()))
    return files


def check_results(folder, number, files):
    path, text = files[number % len(files)]
    other = files[1 - number % len(files)][0]
    mutant = written(folder, f"mutant{path.suffix}", mutated(text, number))

    def score():
        streams = [read_evaluations(mutant)[0], read_evaluations(other)[0]]
        compute_metrics(streams[0])
        compute_metrics(fuse_scores(streams))
        return streams

    refused(score)


@pytest.mark.parametrize("part", range(4))
def test_mutants_of_lists(tmp_path, part):
    for name, text in BESIDE.items():
        written(tmp_path, name, text)
    names = list(LISTS)
    for number in range(part, rounds(1200), 4):
        check_list(tmp_path, names[number % len(names)], number)


def test_mutants_of_class_files(tmp_path):
    names = list(CLASSES)
    for number in range(rounds(400)):
        check_classes(tmp_path, names[number % len(names)], number)


def test_mutants_of_lists_to_predict(tmp_path):
    names = list(PREDICTED)
    for number in range(rounds(200)):
        check_predicted(tmp_path, names[number % len(names)], number)


def test_mutants_of_result_files(tmp_path):
    files = results(tmp_path)
    for number in range(rounds(200)):
        check_results(tmp_path, number, files)
