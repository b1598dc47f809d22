from pathlib import Path

import pytest

from lit_vision.errors import UserError
from lit_vision.utils.files import keep_as_it_was, only_user


def test_a_folder_has_one_user_at_a_time(tmp_path):
    with only_user(tmp_path), pytest.raises(UserError, match="another process"), only_user(tmp_path):
        pass
    with only_user(tmp_path):
        assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_done_too_early_is_undone(tmp_path, begun):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").write_text("old")

    def change():
        (tmp_path / "a").write_text("new")
        (tmp_path / "b").unlink()
        (tmp_path / "c").write_text("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), keep_as_it_was(tmp_path, unless=lambda: begun):
        change()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == ({"a": "new", "c": "new"} if begun else {"a": "old", "b": "old"})


def test_a_new_folder_goes_with_those_above_it_but_not_with_the_users_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (Path("old") / "run").mkdir(parents=True)
    (Path("old") / "note").touch()
    (Path("logs") / "name" / "run").mkdir(parents=True)
    for folder in (Path("logs/name/run"), Path("old/run")):
        with pytest.raises(FileExistsError), keep_as_it_was(folder, unless=lambda: False):
            folder.mkdir()
    assert [str(path) for path in Path().rglob("*")] == ["old", "old/note"]
