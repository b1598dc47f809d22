"""Transfer learning from the command line."""

from pathlib import Path

import pytest
import torch
import torchvision
from helpers import metrics_in, rows_of, same, weights

from lit_vision.models import Classifier

pytestmark = pytest.mark.slow
RUN = Path("lightning_logs/hymenoptera/version_0")


def test_transfer_from_the_command_line_to_torchvisions_own_network(cli, folders):
    root = folders({"train": {"red": 12, "blue": 12}, "val": {"red": 3, "blue": 3}}, size=50)
    options = f"--data ImageFolderDataModule --data.root {root} --data.image_size 48 --trainer.accelerator cpu"
    result = cli(f"fit --config hymenoptera.yaml --model.weights null --model.lr 0.1 --trainer.max_epochs 3 {options}")
    assert (result.code, result.err) == (0, "")
    fitted = max(rows_of(RUN), key=lambda row: float(row["val/acc"]))
    validated = metrics_in(cli("validate --ckpt_path best").out)
    assert validated == {"val/acc": float(fitted["val/acc"]), "val/loss": float(fitted["val/loss"])}
    assert cli("export --ckpt_path best --format state_dict --output plain.pth").code == 0
    network = torchvision.models.resnet18(num_classes=2)
    network.load_state_dict(torch.load("plain.pth", weights_only=True), strict=True)
    model = Classifier.load_from_checkpoint(RUN / "checkpoints" / "best.ckpt")
    image = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(network.eval()(image), model(image), atol=1e-5, rtol=0)
    by_file = cli(f"validate --config hymenoptera.yaml {options} --model.weights plain.pth")  # as the notebook saves it
    assert metrics_in(by_file.out) == validated
    torch.save(torchvision.models.resnet18().state_dict(), "imagenet.pth")
    refused = cli(f"validate --config hymenoptera.yaml {options} --model.weights imagenet.pth")
    assert (refused.code, "imagenet.pth has no head for these 2 classes" in refused.err) == (2, True)


def test_a_transfer_run_resumed_in_the_middle_of_an_epoch_equals_one_that_never_stopped(folders, cli, interrupted):
    root = folders({"train": {"red": 12, "blue": 12}, "val": {"red": 3, "blue": 3}}, size=48)
    options = (
        f"--data ImageFolderDataModule --data.root {root} --data.image_size 48 --data.batch_size 4 --model.weights null"
    )
    line = f"fit --config hymenoptera.yaml {options} --trainer.accelerator cpu --trainer.max_epochs 3"
    assert interrupted(9, line).code == 130
    stopped = RUN
    assert torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 9
    assert cli("fit --ckpt_path last --trainer.callbacks null").code == 0
    assert cli(line).code == 0
    whole = stopped.with_name("version_1")
    assert rows_of(stopped) == rows_of(whole)
    assert same(weights(stopped / "checkpoints" / "last.ckpt"), weights(whole / "checkpoints" / "last.ckpt"))


def test_two_processes_share_the_feature_cache(folders, process, cli):
    root = folders({"train": {"red": 12, "blue": 12}, "val": {"red": 3, "blue": 4}}, size=48)
    options = (
        f"--data ImageFolderDataModule --data.root {root} --data.image_size 48 --model.weights null --model.lr 0.01 "
        "--trainer.accelerator cpu --trainer.max_epochs 3"
    )
    line = f"fit --config hymenoptera.yaml {options}"
    two = f"{line} --trainer.strategy ddp --trainer.devices 2 --data.batch_size 4"
    for result in (process("-m", "lit_vision", *two.split()), cli(f"{line} --trainer.devices 1 --data.batch_size 8")):
        assert result.code == 0, result.err
    shared, alone = rows_of(RUN), rows_of(RUN.with_name("version_1"))
    for a, b in zip(shared, alone, strict=True):
        assert (a["train/acc"], a["val/acc"]) == (b["train/acc"], b["val/acc"])
        assert float(a["train/loss"]) == pytest.approx(float(b["train/loss"]), rel=1e-4)
        assert float(a["val/loss"]) == pytest.approx(float(b["val/loss"]), rel=1e-4)
