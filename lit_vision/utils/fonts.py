"""Fonts that have the characters of a text, among those of matplotlib and of the system."""

import unicodedata
from collections.abc import Sequence
from functools import cache

from lit_vision.utils.log import log_info
from lit_vision.utils.text import printable

_SAME_FONT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HANGUL": "CJK", "BOPOMOFO": "CJK", "IDEOGRAPHIC": "CJK"}


def find_font(text: str) -> str | None:
    """Find a font for a text.

    Returns:
        Path of a font file that has all characters of the text; None if there is none.
    """
    needed = {ord(char) for char in text if not _is_invisible(char)}
    return next((path for path in _font_files() if needed <= _characters(path)), None)


def shown_names(class_names: Sequence[str]) -> list[str]:
    """Replace the class names that no font can show by the number of the class, and tell the user what is missing."""
    missing = [not name.isascii() and find_font(name) is None for name in class_names]
    if any(missing):
        names = "".join(name for name, is_missing in zip(class_names, missing, strict=True) if is_missing)
        _tell_missing(tuple(sorted({_font_of(char) for char in names if not char.isascii()})))
    return [
        f"class {number}" if is_missing else printable(name)
        for number, (name, is_missing) in enumerate(zip(class_names, missing, strict=True))
    ]


def shown_text(text: str) -> str:
    """Escape a text that no font can show as ASCII characters."""
    line = printable(text)
    if line.isascii() or find_font(line) is not None:
        return line
    return line.encode("ascii", "backslashreplace").decode("ascii")


@cache
def _font_files() -> list[str]:
    """Paths of outline fonts: matplotlib's own first, then upright ones of ordinary weight."""
    from matplotlib.font_manager import findfont, fontManager

    others = sorted(
        (font for font in fontManager.ttflist if "lastresort" not in font.name.replace(" ", "").lower()),
        key=lambda font: (font.style != "normal", font.weight != 400, font.name, font.fname),
    )
    return list(dict.fromkeys([findfont("DejaVu Sans"), *(font.fname for font in others)]))


@cache
def _characters(path: str) -> frozenset[int]:
    """The characters that a font has; none if it cannot be read, or consists of pictures of one size."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _is_invisible(char: str) -> bool:
    """Whether a character needs no picture: spaces, joiners and variation selectors."""
    return char.isspace() or unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"


def _font_of(char: str) -> str:
    """The name of a font that has a character, of a family that covers nearly all scripts."""
    if unicodedata.category(char) == "So":
        return "Noto Emoji"
    script = unicodedata.name(char, "UNKNOWN").split()[0].split("-")[0]
    return f"Noto Sans {_SAME_FONT.get(script, script if script == 'CJK' else script.capitalize())}"


@cache
def _tell_missing(fonts: tuple[str, ...]) -> None:
    log_info(f"pictures show class numbers in place of names that no font here has: install {', '.join(fonts)}")
