"""Commands that are refused or end early: one line, and a run as it was."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import QUICK, REPOSITORY

pytestmark = pytest.mark.slow

FIT = f"fit --config shapes.yaml {QUICK} 2"


def files():
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val_loss", ["val_loss", "val/loss"]),
        ("--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor val_acc", ["val_acc", "val/acc"]),
        ("--trainer.val_check_interval 1000", ["val_check_interval"]),
        ("--trainer.limit_train_batches 0.001", ["limit_train_batches"]),
        ("--trainer.check_val_every_n_epoch 0", ["check_val_every_n_epoch 0"]),
        ("--trainer.devices [0]", ["devices"]),
        ("--trainer.callbacks+=RichProgressBar", ["rich"]),
        ("--trainer.logger WandbLogger", ["wandb"]),
        ("--trainer.callbacks+=LearningRateFinder", ["lit-vision lr-find"]),
        ("--trainer.callbacks+=BatchSizeFinder", ["--data.batch_size"]),
        (
            "--trainer.callbacks+=StochasticWeightAveraging --trainer.callbacks.swa_lrs 0.1",
            ["StochasticWeightAveraging", "EMAWeightAveraging"],
        ),
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_refused_command_changes_no_file(cli, fitted, options, words, resumed):
    if words[0] in ("rich", "wandb") and find_spec(words[0]):
        pytest.skip(f"{words[0]} is installed")
    line = FIT
    if resumed:
        fitted(FIT)
        line = "fit --ckpt_path last --trainer.max_epochs 3"
    before = files()
    result = cli(f"{line} {options}")
    assert result.code == 2, result
    assert result.err.count("\n") == 1
    for word in words:
        assert word in result.err
    assert files() == before


def test_a_run_that_has_more_epochs_is_refused(cli, fitted):
    fitted(FIT)
    before = files()
    result = cli("fit --ckpt_path last --trainer.max_epochs 1")
    assert result.code == 2
    assert "has 2 epochs already" in result.err
    assert files() == before
    assert cli("fit --ckpt_path last --trainer.max_epochs 3").code == 0


def test_a_complete_run_says_so(cli, fitted):
    fitted(FIT)
    result = cli("fit --ckpt_path last")
    assert result.code == 0
    assert "has 2 epochs already: to go on, set --trainer.max_epochs" in result.out


def test_early_stopping_says_why_and_ends_for_good(cli):
    stopping = "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val/acc --trainer.callbacks.mode max"
    threshold = "--trainer.callbacks.stopping_threshold 0.01"
    result = cli(f"{FIT[:-2]} 9 {stopping} {threshold}")
    assert result.code == 0, result.err
    assert "ended after epoch 1" in result.out
    assert "val/acc" in result.out
    again = cli("fit --ckpt_path last")
    assert again.code == 2
    assert "EarlyStopping ended the run" in again.err


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_leftover_rank_is_no_other_process(cli, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert cli(FIT).code == 0
    assert Path("lightning_logs/shapes/version_0/config.yaml").is_file()


def test_a_bare_run(cli):
    result = cli(f"{FIT} --trainer.barebones true")
    assert result.code == 0, result.err


def test_the_model_may_stand_after_its_options(cli):
    result = cli("fit --model.hidden [8,8] --model SmallCNN --data ShapesDataModule --trainer.fast_dev_run true")
    assert result.code == 0, result.err


def test_a_key_that_stands_twice_is_refused(cli):
    Path("x.yaml").write_text("trainer:\n  max_epochs: 1\nmodel: SmallCNN\ntrainer:\n  max_steps: 3\n")
    result = cli("fit --config x.yaml")
    assert result.code == 2
    assert "trainer stands twice, in line 4" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--trainer.num_nodes 2", "needs the address of the first machine"),
        ("--trainer.devices 1000000000", "too many for this machine"),
        ("--trainer.max_epochs=", "got nothing"),
    ],
)
def test_options_that_nobody_can_mean(cli, monkeypatch, options, words):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    result = cli(f"{FIT} {options}")
    assert result.code == 2
    assert words in result.err


def test_random_options_end_well(process):
    """The short form of a script that tries 300 combinations."""
    result = process(str(REPOSITORY / "tests" / "stress" / "random_options.py"), "--count", "12", "--seed", "7")
    assert result.code == 0, result.out
