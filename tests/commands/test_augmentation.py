"""Augmentation and balance from the command line: resumed exactly, the same over processes, and what is refused."""

from pathlib import Path

import pytest
import torch
from helpers import rows_of, same, weights

pytestmark = pytest.mark.slow
RUN = Path("lightning_logs/folder/version_0")
ALL = "[flip,{rotate:{degrees:20}},random_resized_crop,trivial_augment,random_erasing,mixup,cutmix]".replace(":", ": ")


@pytest.fixture
def line(folders):
    root = folders({"train": {"red": 30, "blue": 14, "green": 4}, "val": {"red": 6, "blue": 6, "green": 6}}, size=40)
    return (
        f"fit --config folder.yaml --data.root {root} --data.image_size 32 --data.batch_size 4 --model.lr 0.01 "
        "--trainer.accelerator cpu --trainer.max_epochs 3"
    )


@pytest.mark.parametrize("more", ["--data.balance true", "--model.class_weights balanced"])
def test_a_run_with_all_augmentations_goes_on_as_if_it_had_never_stopped(line, cli, interrupted, more):
    Path("augment.yaml").write_text(f"data:\n  init_args:\n    augment: {ALL}\n")
    line = f"{line} --config augment.yaml --name folder {more} --checkpoint.monitor val/f1"
    assert interrupted(17, line).code == 130
    assert cli("fit --ckpt_path last --trainer.callbacks null").code == 0
    whole = cli(line)
    assert whole.code == 0
    assert "best   val/f1 " in whole.out
    assert rows_of(RUN) == rows_of(RUN.with_name("version_1"))
    assert "val/f1" in rows_of(RUN)[0]
    last = [RUN.with_name(f"version_{number}") / "checkpoints" / "last.ckpt" for number in range(2)]
    assert same(weights(last[0]), weights(last[1]))


@pytest.mark.parametrize("more", ["--data.balance true", "--model.class_weights balanced"])
def test_two_processes_see_what_one_sees(line, process, cli, more):
    Path("augment.yaml").write_text(f"data:\n  init_args:\n    augment: {ALL}\n")
    line = f"{line} --config augment.yaml --name folder {more} --checkpoint.monitor val/f1"
    two = f"{line} --trainer.strategy ddp --trainer.devices 2 --data.batch_size 4"
    for result in (process("-m", "lit_vision", *two.split()), cli(f"{line} --trainer.devices 1 --data.batch_size 8")):
        assert result.code == 0, result.err
    last = [RUN.with_name(f"version_{number}") / "checkpoints" / "last.ckpt" for number in range(2)]
    for name, tensor in weights(last[0]).items():
        torch.testing.assert_close(tensor, weights(last[1])[name], atol=1e-5, rtol=0)
    for a, b in zip(rows_of(RUN), rows_of(RUN.with_name("version_1")), strict=True):
        assert float(a["val/f1"]) == pytest.approx(float(b["val/f1"]), abs=1e-6)


def test_patience_ends_a_run_and_more_of_it_goes_on(line, cli):
    line += " --model.lr 0 --trainer.max_epochs 9 --checkpoint.patience 2 --checkpoint.monitor val/loss"
    ended = cli(line)
    assert ended.code == 0, ended.err
    assert "ended after epoch 3: val/loss did not improve in 2 validations" in ended.out
    refused = cli("fit --ckpt_path last")
    assert (refused.code, "raise --checkpoint.patience" in refused.err) == (2, True)
    assert cli("fit --ckpt_path last --checkpoint.patience 4").code == 0
    assert len(rows_of(RUN)) == 5


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.augment [mixap]", "there is no augmentation mixap (did you mean mixup"),
        (
            "--data.augment [mixup] --data.root one --data.classes [red,blue]",
            "mixup needs training images of two classes",
        ),
        ("--data.balance true --data.classes [red,blue,green,black]", "no training image of black"),
        ("--model.class_weights balanced --data.classes [red,blue,green,black]", "no training image of black"),
        ("--model.class_weights balanced --data.balance true", "leave --model.class_weights out"),
        ("--checkpoint.monitor val/auc", "val/acc, val/f1, val/loss"),
        ("--checkpoint.patience 0", "patience 0 is below 1"),
        ("--checkpoint.patience 1 --trainer.limit_val_batches 0", "monitors val/acc, which is not logged"),
    ],
)
def test_bad_input(line, folders, cli, option, message):
    folders({"train": {"red": 5}, "val": {"red": 5}}, name="one")
    result = cli(f"{line} {option}")
    assert (result.code, message in result.err, result.err.count("\n")) == (2, True, 1), result.err
