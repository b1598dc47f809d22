import pytest

from lit_vision.utils.text import as_cell, from_cell, printable


@pytest.mark.parametrize(
    "name", ["cat", "two words", "猫 犬", "caf\u00e9", "cafe\u0301", "👩‍🚀", "العربية", "a\u00a0b", "$x_1$|`*"]
)
def test_text_in_any_script_stays(name):
    assert printable(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\udce9", "caf\\xe9"),
        ("a\nb", "a\\nb"),
        ("a\tb\r\x07\x7f", "a\\tb\\r\\x07\\x7f"),
        ("a\u2028b\u0085", "a\\u2028b\\x85"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_no_text_is_escaped(name, shown):
    assert printable(name) == shown
    printable(name).encode()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd()", "'=cmd()"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+cmd()", "'+1+cmd()"),
        ("-x", "'-x"),
        ("\t=1", "'\t=1"),
        ("-1", "-1"),
        ("+0.5", "+0.5"),
        ("cat", "cat"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(text, cell):
    assert as_cell(text) == cell
    assert from_cell(cell) == text


@pytest.mark.parametrize("text", ["", "a", "'", "'a", "=a", "'=a", "''=a", "-1", "-a", "'-1", "'-a", "+", "@'"])
def test_a_cell_gives_its_text_back(text):
    assert from_cell(as_cell(text)) == text
