"""A font for each text: DejaVu Sans, or an installed one that has the letters which it lacks."""

from functools import cache
from pathlib import Path
from typing import Final

from PIL import ImageFont

OTHER_SCRIPTS: Final = (  # for glyphs that DejaVu lacks; those that are installed
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "PingFang SC", "Hiragino Sans", "Microsoft YaHei",
    "Yu Gothic", "Malgun Gothic", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Sans Thai", "Nirmala UI",
)  # fmt: skip
LAST_RESORT: Final = "Last Resort"  # a font of boxes for every letter, which comes with matplotlib


@cache
def font_for(text: str, size: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """The font that has most letters of a text, and the letters that no installed font has."""
    letters = frozenset(map(ord, text)) - frozenset(map(ord, " \t"))
    best = _dejavu()
    missing = letters - _letters_of(best)
    for path in _other_fonts() if missing else ():
        if len(letters - _letters_of(path)) < len(missing):
            best, missing = path, letters - _letters_of(path)
        if not missing:
            break
    return ImageFont.truetype(best, size), "".join(map(chr, sorted(missing)))


def shorten(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """`text`, cut with an ellipsis if it is wider than `room`."""
    shown = text
    while text and font.getlength(shown) > room:
        text = text[:-1].rstrip()
        shown = f"{text}…"
    return shown


@cache
def _dejavu() -> str:
    """The file of DejaVu Sans, which comes with matplotlib."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@cache
def _other_fonts() -> tuple[str, ...]:
    """The files of installed fonts, those of `OTHER_SCRIPTS` first."""
    from matplotlib.font_manager import fontManager

    entries = [entry for entry in fontManager.ttflist if not entry.name.startswith(LAST_RESORT)]
    named = {entry.name: entry.fname for entry in reversed(entries)}
    first = [named[name] for name in OTHER_SCRIPTS if name in named]
    return *first, *sorted(set(named.values()) - set(first))


@cache
def _letters_of(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())
