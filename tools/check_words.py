"""Find words that the style guide (CONTRIBUTING.md, "Language") bans, in code, tests, help, errors and docs.

python tools/check_words.py
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "src/i3d/**/*.py",
    "src/i3d/assets/**/*.html",
    "tools/**/*.py",
    "tests/**/*.py",
    "CHANGELOG.md",
    "examples/*.py",
    "examples/*.md",
    ".github/**/*.md",
    ".github/**/*.yml",
    "benchmarks/*.py",
    "ports/**/*.md",
]
# What to write instead. A word is banned in every sense that this project has a use for.
WORDS = {
    r"told|tells?(?!\()|telling": "print, report, log, name",
    r"says?|said": "print, report, name, set",
    r"anew": "again",
    r"mend(?:s|ed|ing)?": "fix",
    r"at rest": "in inference mode",
    r"by heart": "overfit",
    r"anybody(?:'s)?|anyone's": "any",
    r"one's own|of one's": "your, own",
    r"what is there": "existing",
    r"twins?": "mirrored classes, pairs",
    r"doors?": "entry points, commands",
    r"step(?:s|ped)? over": "skip",
    r"learnt": "learned, trained",
    r"kept": "saved, cached, retained",
    r"go(?:es|ing)? on|went on": "continue, resume",
    r"sees|seen|seeing": "reads, processes, contains",  # `see` before a page or a command is a cross-reference
    r"look(?:s|ed|ing)? at": "check, inspect, test",
    r"pictures?": "image, frame, figure, sheet",
    r"figures": "metrics, numbers",
    r"keep_(?!existing|ratio|tail_frames|torch_compile|checkpoint_max)\w+": "save_, cache_, retain_",
    r"keep(?:s|ing)? the (?:logits|scores|weights|lines|views|files?|results?|memory)": "save, cache, retain",
}
# Local variables and functions whose name says nothing.
NAMES = {"found", "told", "seen", "done", "there", "kept", "made", "tell", "say"}
EXEMPT = {"tools/check_words.py"}


def main() -> int:
    problems = [problem for path in paths() for problem in (*words_in(path), *names_in(path))]
    print("\n".join(problems))
    if problems:
        print(
            f"{len(problems)} words that CONTRIBUTING.md bans, in {len({p.split(':')[0] for p in problems})} files",
            file=sys.stderr,
        )
    return 1 if problems else 0


def paths() -> Iterator[Path]:
    for pattern in TEXTS:
        yield from (path for path in sorted(ROOT.glob(pattern)) if str(path.relative_to(ROOT)) not in EXEMPT)


def words_in(path: Path) -> Iterator[str]:
    """`file:line: word: instead` for each banned word."""
    name, text = path.relative_to(ROOT), path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, instead in WORDS.items():
            yield from (
                f"{name}:{number}: {m[0]}: {instead}" for m in re.finditer(rf"\b(?:{pattern})\b", line, re.IGNORECASE)
            )


def names_in(path: Path) -> Iterator[str]:
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                if name in NAMES:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}: {name}: a name that says what it is"
                elif name.startswith("test_"):  # the name of a test is a sentence
                    yield from (
                        f"{path.relative_to(ROOT)}:{node.lineno}: {name}: {m[0]}: {instead}"
                        for pattern, instead in WORDS.items()
                        for m in re.finditer(rf"\b(?:{pattern})\b", name.replace("_", " "))
                    )


if __name__ == "__main__":
    sys.exit(main())
