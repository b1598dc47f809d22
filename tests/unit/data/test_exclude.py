import pytest

from lit_vision.data.exclude import Exclude
from lit_vision.errors import UserError
from lit_vision.utils.text import as_cell


@pytest.mark.parametrize("name", ["a.png", "=a.png", "-b/c.png", "@x", "+1", "'quoted.png", "caf\udce9.png", "á,b.png"])
def test_names_are_those_that_a_table_was_written_with(tmp_path, name):
    path = tmp_path / "table.csv"
    cell = as_cell(name).replace('"', '""')
    path.write_bytes(f'image\n"{cell}"\n'.encode("utf-8", "surrogateescape"))
    assert Exclude(path).names == {name}


def test_a_table_of_a_spreadsheet(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbfExclude; Image\r\nX;a.png\r\n;b.png\r\n0;c.png\r\n")
    assert Exclude(path).names == {"a.png"}
    path.write_text("exclude\timage\nx\tá.png\n", encoding="utf-16")
    assert Exclude(path).names == {"á.png"}
    path.write_text("image,exclude\na.png\nb.png,x\n")  # a short row has no mark
    assert Exclude(path).names == {"b.png"}
    path.write_text("image,exclude\na.png,perhaps\n")
    with pytest.raises(UserError, match="'perhaps' in the column exclude of a"):
        _ = Exclude(path).names


def test_no_table_excludes_nothing():
    assert Exclude(None).names == frozenset()
    Exclude(None).check_known([])


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n"])
def test_what_is_no_table(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(UserError, match="has no column image"):
        _ = Exclude(path).names


def test_unknown_names_are_listed(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("image\n" + "\n".join("abcde"))
    with pytest.raises(UserError, match=r"does not have: b, c, d and 1 more: correct --data\.exclude"):
        Exclude(path).check_known(["a"])
