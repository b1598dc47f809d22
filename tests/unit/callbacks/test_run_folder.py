from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from lit_vision.callbacks import RunFolder
from lit_vision.runs import find_checkpoint, new_run_folder, note_elsewhere


def test_runs_that_start_together_get_a_folder_each():
    folders = [RunFolder(Path("logs/x")) for _ in range(3)]
    assert [folder.path.name for folder in folders] == ["version_0", "version_1", "version_2"]
    assert folders[0].path == folders[0].path


def test_a_folder_is_made_when_it_is_asked_for():
    RunFolder(Path("logs/x"))
    assert not Path("logs").exists()


def test_numbers_go_on_after_the_highest():
    for name in ("version_7", "version_x", "version_10"):
        Path("logs", name).mkdir(parents=True)
    assert new_run_folder(Path("logs")).name == "version_11"


@pytest.mark.parametrize("taken", [False, True])
def test_a_logger_with_a_folder_of_its_own_gives_it(taken):
    logger = CSVLogger("mine", version="a")
    if taken:
        Path(logger.log_dir).mkdir(parents=True)
        Path(logger.log_dir, "note").touch()
    assert RunFolder(Path("logs/x"), loggers=[logger]).path == Path("logs/x/version_0" if taken else logger.log_dir)


def checkpoint(folder):
    path = Path(folder) / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_runs_elsewhere_are_found_by_name(tmp_path_factory):
    far = checkpoint(tmp_path_factory.mktemp("far") / "run")
    for folder, name in ((far.parents[1], "a"), (checkpoint("mine/run").parents[1], "b"), (Path("gone"), "b")):
        for _ in range(2):
            note_elsewhere(folder, name)
    assert Path("lightning_logs/b/elsewhere.txt").read_text() == "mine/run\ngone\n"
    logs = Path("lightning_logs")
    assert find_checkpoint("last", logs, "a") == far
    assert find_checkpoint("last", logs, "b") == Path("mine/run/checkpoints/last.ckpt")
    assert find_checkpoint("last", logs) == Path("mine/run/checkpoints/last.ckpt")


def test_a_run_in_its_usual_place_is_not_listed():
    note_elsewhere(checkpoint("lightning_logs/x/version_0").parents[1], "x")
    assert not Path("lightning_logs/x/elsewhere.txt").exists()
