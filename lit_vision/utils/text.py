"""Text from people's files, such as names in any script and any bytes, in a form that can be shown and written."""

import re
import unicodedata

_FORMULA = re.compile(r"'*([=@\t\r]|[+-](?![\d.,]+$))")  # but not a number; and what would be read as one again
_UNSHOWN = {"Cc", "Cs", "Cn", "Zl", "Zp"}  # control characters, lone bytes, unassigned code points, line separators


def printable(text: str) -> str:
    r"""Escape what is not text: ``b"caf\xe9"``, a file name in Latin-1, becomes ``caf\xe9`` in ASCII characters.

    Args:
        text: a name, in which bytes that are not UTF-8 are surrogates, as in the names that ``os`` returns.

    Returns:
        One line that is valid in UTF-8. Text in any script stays as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _UNSHOWN else char for char in text)


def class_name(name: str) -> str:
    """The printable form of a class's name, composed, so that names which look the same are the same."""
    return printable(unicodedata.normalize("NFC", name))


def as_cell(text: str) -> str:
    """Text for a cell of a table: what a spreadsheet would take for a formula, and run, begins with an apostrophe."""
    return f"'{text}" if _FORMULA.match(text) else text


def as_code(text: str) -> str:
    """Format text as code of Markdown, in one line, which may itself have single backticks."""
    line = printable(" ".join(text.split()))
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def from_cell(cell: str) -> str:
    """The text that :func:`as_cell` made a cell from."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _escape(char: str) -> str:
    if 0xDC80 <= ord(char) <= 0xDCFF:  # a byte, as os.fsdecode shows it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
