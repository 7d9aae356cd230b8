"""Lists of clips with the report that a check would give."""

from i3d.data.check.report import ClipReport, DatasetReport
from i3d.data.formats.read import read_annotations
from i3d.finetuning.data_issues import find_data_issues


class CheckedList:
    """A list of clips and the report `check` would give: (label, split, what differs from a sound clip)."""

    def __init__(self, folder, clips, *, classes=None):
        lines = [f"{i}.mp4,{label},{split}" for i, (label, split, _) in enumerate(clips)]
        has_splits = any(split for _, split, _ in clips)
        if not has_splits:
            lines = [line.rstrip(",") for line in lines]
        (folder / "clips.csv").write_text("\n".join(["path,label" + ",split" * has_splits, *lines]) + "\n")
        self.annotations = read_annotations(folder / "clips.csv", classes=classes)
        sound = {"num_frames": 50, "width": 64, "height": 48, "fps": 25.0, "seconds": 2.0, "bytes": 50_000}
        rows = []
        for i, (label, split, changes) in enumerate(clips):
            fields = {"status": "ok", "reason": "", **sound, "sha256": f"{i:064x}", **changes}
            rows.append(ClipReport(path=f"{i}.mp4", line=i + 2, split=split, labels=(label,), **fields))
        self.report = DatasetReport("clips.csv", tuple(rows), {}, ())

    @property
    def issues(self):
        return find_data_issues(self.annotations, self.report)

    @property
    def kinds(self):
        return [issue.kind for issue in self.issues]

    def message(self, kind):
        (issue_message,) = (issue.message for issue in self.issues if issue.kind == kind)
        return issue_message
