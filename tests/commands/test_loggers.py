"""A run has one folder for its files, whatever its logger, and best and last find it."""

import sys
from pathlib import Path

import pytest
from helpers import QUICK, rows_of, same, weights
from PIL import Image

pytestmark = pytest.mark.slow

FIT = f"fit --config shapes.yaml {QUICK} 1"
OWN = {
    name: f"the user's own {name}".encode()
    for name in ("config.yaml", "metrics.csv", "curves.png", "checkpoints/best.ckpt")
}
REMOTE = """
from lightning.pytorch.loggers.logger import Logger

class Remote(Logger):
    '''Like that of W&B: it has a folder, but no folder of a run.'''
    save_dir, name, version = ".", "project", "id"
    def log_metrics(self, *args, **kwargs): pass
    def log_hyperparams(self, *args, **kwargs): pass
"""
LOGGERS = {
    "default": ("", "lightning_logs/shapes/version_1"),
    "none": ("--trainer.logger false", "lightning_logs/shapes/version_1"),
    "csv": ("--trainer.logger CSVLogger --trainer.logger.save_dir mine", "mine/lightning_logs/version_0"),
    "tensorboard": (
        "--trainer.logger TensorBoardLogger --trainer.logger.save_dir mine",
        "mine/lightning_logs/version_0",
    ),
    "remote": ("--trainer.logger remote.Remote", "lightning_logs/shapes/version_1"),
    "several": (
        "--trainer.logger+=remote.Remote --trainer.logger+=TensorBoardLogger --trainer.logger.save_dir mine "
        "--trainer.logger.name tb --trainer.logger+=CSVLogger --trainer.logger.save_dir tables",
        "mine/tb/version_0",
    ),
}


def folders_of_runs():
    return {str(path.parents[1]) for path in Path().rglob("*.ckpt") if path.parents[1] != Path()}


@pytest.fixture
def in_use(monkeypatch):
    """A working folder with an older run and files of the user's own under the names of a run's files."""
    for name, content in OWN.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    Path("remote.py").write_text(REMOTE)
    sys.modules.pop("remote", None)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Image.new("RGB", (32, 32)).save("x.png")


@pytest.mark.parametrize(("options", "folder"), LOGGERS.values(), ids=LOGGERS)
def test_one_folder_has_all_files_of_a_run(cli, fitted, in_use, options, folder):
    fitted(FIT)
    run, older = Path(folder), "lightning_logs/shapes/version_0"
    first = cli(f"{FIT} {options}")
    assert first.code == 0, first.err
    assert str(run / "checkpoints/best.ckpt") in first.out
    for line in ("fit --ckpt_path last --trainer.max_epochs 2", "test --ckpt_path best", "export --ckpt_path best"):
        result = cli(line)
        assert result.code == 0, result.err
        assert f"checkpoint {run}/checkpoints/" in result.out
    assert f"checkpoint {run}/" in cli("predict --ckpt_path best --images x.png").out
    assert folders_of_runs() == {older, folder}
    for name in ("config.yaml", "curves.png", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/report/report.md"):
        assert (run / name).is_file(), name
    rows = rows_of(run)
    if options.startswith("--trainer.logger CSVLogger"):  # its own table
        rows = [row for row in rows if row["train/loss"]]
    assert len(rows) == 2
    assert {name: Path(name).read_bytes() for name in OWN} == OWN
    if "TensorBoardLogger" in options:
        assert f"tensorboard --logdir {run.parts[0]}\n" in first.out


def test_a_run_that_goes_on_with_its_logger_is_that_which_never_stopped(cli):
    options = "--trainer.logger TensorBoardLogger --trainer.logger.save_dir tb"
    assert cli(f"{FIT[:-1]} 2 {options}").code == 0
    assert cli(f"{FIT} {options} --name b").code == 0
    assert cli("fit --ckpt_path last --trainer.max_epochs 2").code == 0
    whole, resumed = (Path(f"tb/lightning_logs/version_{number}") for number in (0, 1))
    assert rows_of(whole) == rows_of(resumed)
    assert same(*(weights(run / "checkpoints/last.ckpt") for run in (whole, resumed)))
    assert sorted(path.name for path in Path("tb/lightning_logs").iterdir()) == ["version_0", "version_1"]


def test_a_run_below_another_root_is_found(cli, fitted):
    fitted(FIT)
    assert cli(f"{FIT} --trainer.default_root_dir out --name far").code == 0
    assert "checkpoint out/lightning_logs/far/version_0" in cli("test --ckpt_path best").out
    assert "checkpoint out/lightning_logs/far/version_0" in cli("test --ckpt_path best --name far").out
    assert "checkpoint lightning_logs/shapes/version_0" in cli("test --ckpt_path best --name shapes").out
    assert cli("fit --ckpt_path last --trainer.max_epochs 2").code == 0
    assert len(rows_of(Path("out/lightning_logs/far/version_0"))) == 2


def test_a_logger_whose_folder_is_taken_overwrites_no_run(cli):
    options = "--trainer.logger TensorBoardLogger --trainer.logger.save_dir tb --trainer.logger.version a"
    assert cli(f"{FIT} {options}").code == 0
    before = Path("tb/lightning_logs/a/checkpoints/best.ckpt").read_bytes()
    assert cli(f"{FIT} {options} --seed_everything 1").code == 0
    assert Path("tb/lightning_logs/a/checkpoints/best.ckpt").read_bytes() == before
    assert Path("lightning_logs/shapes/version_0/checkpoints/best.ckpt").is_file()


def test_a_checkpoint_whose_name_has_a_metric_belongs_to_its_run(cli):
    callback = "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.filename {epoch}-{val/acc:.2f}"
    assert cli(f"{FIT} {callback} --trainer.callbacks.monitor val/acc").code == 0
    (found,) = Path("lightning_logs/shapes/version_0/checkpoints").rglob("acc=*.ckpt")
    for command in ("test", "validate", "fit --trainer.max_epochs 2"):
        result = cli(f"{command} --ckpt_path {found}")
        assert result.code == 0, result.err


def test_all_checkpoints_are_in_the_folder_of_the_run(cli):
    callback = "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.filename mine"
    assert cli(f"{FIT} --trainer.logger false {callback}").code == 0
    found = sorted(path.name for path in Path("lightning_logs/shapes/version_0/checkpoints").iterdir())
    assert found == ["best.ckpt", "last.ckpt", "mine.ckpt"]
    assert {str(path.parent) for path in Path().rglob("*.ckpt")} == {"lightning_logs/shapes/version_0/checkpoints"}
