"""Checkpoints whose content cannot be right: every command refuses them in a line."""

import pytest
import torch
from helpers import RUN, TINY

pytestmark = pytest.mark.slow
LAST = RUN / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda c: c["hyper_parameters"].update(class_names=7), ("validate", "predict --images .", "show")),
        (lambda c: c["state_dict"]["conv1.weight"].fill_(torch.nan), ("test", "export", "fit --name other")),
        (lambda c: c.pop("loops"), ("fit --trainer.max_epochs 2",)),
        (lambda c: c["ShapesDataModule"].update(thresholds=3), ("validate", "fit --trainer.max_epochs 2")),
        (lambda c: c["ShapesDataModule"].update(seen=[["a", ["x"], True]]), ("test",)),
        (lambda c: c["ShapesDataModule"].update(fingerprint=7), ("test", "fit --trainer.max_epochs 2")),
    ],
)
def test_a_checkpoint_that_lies_is_refused(cli, fitted, change, lines):
    fitted(f"{TINY} --trainer.max_epochs 1 --trainer.accelerator cpu")
    checkpoint = torch.load(LAST, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, LAST)
    for line in lines:
        command, *options = line.split()
        which = [str(LAST)] if command == "show" else ["--ckpt_path", str(LAST)]
        result = cli(command, *which, *options)
        assert result.code == 2, result.err
        (error,) = result.err.splitlines()
        assert str(LAST) in error
