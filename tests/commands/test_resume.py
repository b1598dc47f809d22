"""A run that was stopped or killed goes on as if nothing had happened."""

import math
import os

import pytest
import torch
import yaml
from helpers import QUICK, REPOSITORY, RUN, TINY, rows_of, same, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_vision.callbacks import BestAndLast, EpochLog

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("more", ["", "--data.augment [flip,jitter,rotate]"])
def test_a_resumed_run_equals_one_that_never_stopped(cli, fitted, more):
    fitted(f"fit --config shapes.yaml {QUICK} 3 {more}")
    cli(f"fit --config shapes.yaml {QUICK} 2 {more}")
    stopped = RUN.with_name("version_1")
    result = cli("fit --ckpt_path last --trainer.max_epochs 3")
    assert result.code == 0
    assert "epoch 3/3" in result.out
    assert "epoch 2/3" not in result.out
    assert rows_of(stopped) == rows_of(RUN)  # it goes on in its folder, with the rows from before
    assert same(weights(stopped / "checkpoints" / "last.ckpt"), weights(RUN / "checkpoints" / "last.ckpt"))
    assert same(weights(stopped / "checkpoints" / "best.ckpt"), weights(RUN / "checkpoints" / "best.ckpt"))
    assert len(os.listdir("lightning_logs/shapes")) == 2


@pytest.mark.parametrize(
    ("batch", "more", "step"),
    [
        (10, "", 10),  # the last of its epoch, which is validated before the run ends
        (6, "--trainer.accumulate_grad_batches 4", 2),  # in the middle of a step
        (5, "--trainer.val_check_interval 5", 6),  # before a validation
        (20, "", 20),  # the last of the run
        (10, "--trainer.max_steps 20", 10),
        (7, "--trainer.precision 64-true", 7),
        (7, "--trainer.callbacks EMAWeightAveraging --trainer.callbacks.decay 0.9", 7),
    ],
)
def test_stopped_anywhere_it_ends_the_same(cli, interrupted, batch, more, step):
    line = f"{TINY} --trainer.max_epochs 2 --trainer.accelerator cpu {more}"
    assert interrupted(batch, line).code == 130
    last = RUN / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == step
    callbacks = more if "callbacks" in more else "--trainer.callbacks null"
    assert cli(f"fit --ckpt_path last {callbacks}").code == 0
    assert cli(line).code == 0
    whole = RUN.with_name("version_1")
    assert rows_of(whole) == rows_of(RUN)
    assert len(rows_of(whole)) == 2
    assert same(weights(whole / "checkpoints" / "last.ckpt"), weights(last))
    assert curve(whole) == curve(RUN)


def curve(run):
    """Step and train/loss of all points that TensorBoard draws."""
    events = EventAccumulator(str(run)).Reload()
    return [(point.step, point.value) for point in events.Scalars("train/loss")]


def test_killed_at_random_moments_it_ends_the_same(process):
    result = process(str(REPOSITORY / "tests" / "stress" / "kill_and_resume.py"), "--kills", "2")
    assert result.code == 0, result.out + result.err
    assert "2 of 2 the same" in result.out


def test_another_run_that_starts_from_last_leaves_the_old_one_as_it_was(cli, fitted):
    fitted(f"fit --config shapes.yaml {QUICK} 1")
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    cli("fit --ckpt_path last --trainer.max_epochs 2 --model.lr 0.5")
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before
    assert [row["lr"] for row in rows_of(RUN.with_name("version_1"))] == ["0.01", "0.5"]


def test_a_run_that_is_older_than_an_option_goes_on_in_its_folder(cli, fitted):
    fitted(f"fit --config shapes.yaml {QUICK} 1")
    config = RUN / "config.yaml"
    saved = yaml.safe_load(config.read_text())
    del saved["model"]["init_args"]["label_smoothing"], saved["data"]["init_args"]["crop_epochs"]
    config.write_text(yaml.safe_dump(saved))
    assert cli("fit --ckpt_path last --trainer.max_epochs 2").code == 0
    assert os.listdir("lightning_logs/shapes") == ["version_0"]
    assert len(rows_of(RUN)) == 2


def test_an_epoch_cannot_go_on_with_other_batches(cli, fitted):
    fitted(f"fit --config shapes.yaml {QUICK} 2")
    path = RUN / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    state["loops"]["fit_loop"]["state_dict"]["combined_loader"] = [{"epoch": 1, "batch": 3, "batches": 7}]
    progress = state["loops"]["fit_loop"]["epoch_progress"]["current"]
    progress.update(ready=2, started=2, processed=1, completed=1)
    torch.save(state, path)
    result = cli("fit --ckpt_path last --data.batch_size 64 --trainer.max_epochs 3")
    assert result.code == 2
    assert "middle of an epoch of 7 batches" in result.err


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("every_n_steps 4", [4, 8, 10]),
        ("every_n_steps 5", [5, 10]),
        ("every_n_steps 10", [10]),
        ("every_n_minutes 1e-9", [*range(1, 11)]),
    ],
)
def test_checkpoints_within_an_epoch(cli, monkeypatch, option, expected):
    steps = []
    save = BestAndLast._save_last
    monkeypatch.setattr(
        BestAndLast, "_save_last", lambda self, trainer: (steps.append(trainer.global_step), save(self, trainer))
    )
    result = cli(f"{TINY} --trainer.max_epochs 1 --checkpoint.{option}")
    assert result.code == 0, result.err
    assert steps == expected


def test_checkpoint_options_that_make_no_sense(cli):
    for option in ("every_n_steps 0", "every_n_minutes -1"):
        result = cli(f"{TINY} --checkpoint.{option}")
        assert result.code == 2
        assert f"--checkpoint.{option.split()[0]}" in result.err
        assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(("step", "what"), [(14, "the loss is nan at step 15"), (19, "a weight is NaN or infinite")])
def test_the_checkpoint_before_is_kept_where_weights_are_not_finite(cli, fitted, monkeypatch, step, what):
    fitted(f"{TINY} --trainer.max_epochs 1")
    good = RUN / "checkpoints" / "last.ckpt"
    before = good.read_bytes()

    def break_a_weight(self, trainer, model, *args):
        if trainer.global_step == step:
            model.layer_out.bias.data[0] = math.nan

    monkeypatch.setattr(EpochLog, "on_train_batch_end", break_a_weight)
    result = cli(
        "fit --ckpt_path last --trainer.max_epochs 2 --trainer.limit_val_batches 0 --checkpoint.every_n_steps 19"
    )
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert what in line
    assert f"the last good checkpoint is {good}" in line
    assert good.read_bytes() == before
