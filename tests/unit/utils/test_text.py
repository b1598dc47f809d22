import pytest

from lit_vision.utils.text import printable


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
