"""Fine-tuning from the command line: what is trained, resumed, shared by processes and exported."""

from pathlib import Path

import pytest
import torch
import torchvision
from helpers import metrics_in, rows_of, same, weights

from lit_vision.models import Classifier

pytestmark = pytest.mark.slow
RUN = Path("lightning_logs/hymenoptera/version_0")


@pytest.fixture
def line(folders):
    root = folders({"train": {"red": 12, "blue": 12}, "val": {"red": 3, "blue": 4}}, size=48)
    return (
        f"fit --config hymenoptera.yaml --data ImageFolderDataModule --data.root {root} --data.image_size 48 "
        "--data.batch_size 4 --model.weights null --trainer.accelerator cpu --trainer.max_epochs 3 "
        "--model.unfreeze 2 --model.unfreeze_at 1"
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("batch", [3, 9])
def test_a_run_stopped_before_or_after_it_unfroze_equals_one_that_never_stopped(
    line, cli, interrupted, optimizer, batch
):
    if optimizer == "muon":
        pytest.importorskip("timm")
    line += f" --model.optimizer {optimizer} --model.schedule cosine --model.weight_decay 0.01"
    assert interrupted(batch, line).code == 130
    assert cli("fit --ckpt_path last --trainer.callbacks null").code == 0
    assert cli(line).code == 0
    whole = RUN.with_name("version_1")
    assert rows_of(RUN) == rows_of(whole)
    assert same(weights(RUN / "checkpoints" / "last.ckpt"), weights(whole / "checkpoints" / "last.ckpt"))


def test_two_processes_train_what_one_trains(line, process, cli):
    # in float64, for AdamW makes a whole step of the sign of a gradient that is nothing but rounding
    line += " --model.optimizer adamw --trainer.precision 64-true"
    two = f"{line} --trainer.strategy ddp --trainer.devices 2 --data.batch_size 4"
    for result in (process("-m", "lit_vision", *two.split()), cli(f"{line} --trainer.devices 1 --data.batch_size 8")):
        assert result.code == 0, result.err
    last = [RUN.with_name(f"version_{number}") / "checkpoints" / "last.ckpt" for number in range(2)]
    for name, tensor in weights(last[0]).items():
        torch.testing.assert_close(tensor, weights(last[1])[name], atol=1e-5, rtol=0)


def test_a_fine_tuned_network_is_the_same_in_every_command(line, cli):
    fitted = cli(line + " --trainer.max_epochs 2")
    assert fitted.code == 0, fitted.err
    assert "stage 1 | layer4.0 to layer4.1 | 8.4 M   | trained from epoch 2" in fitted.out + fitted.err
    assert "stage 3 | layer2.0 to layer2.1 | 525.6 K | frozen" in fitted.out + fitted.err
    row = rows_of(RUN)[-1]
    last = RUN / "checkpoints" / "last.ckpt"
    validated = metrics_in(cli(f"validate --ckpt_path {last}").out)
    assert validated == {"val/acc": float(row["val/acc"]), "val/loss": float(row["val/loss"])}
    assert cli("export --ckpt_path last --format state_dict --output plain.pth").code == 0
    network = torchvision.models.resnet18(num_classes=2)
    network.load_state_dict(torch.load("plain.pth", weights_only=True), strict=True)
    image = torch.rand(2, 3, 48, 48)
    model = Classifier.load_from_checkpoint(last)
    torch.testing.assert_close(network.eval()(image), model(image), atol=1e-5, rtol=0)


def test_a_rate_in_a_config_is_for_what_the_config_trains(line, cli):
    result = cli(f"{line} --model.optimizer adamw --trainer.max_epochs 2 --print_config")
    assert (
        "lr 0.001 of hymenoptera.yaml is for optimizer sgd: with adamw, the default is used" in result.out + result.err
    )
    assert "lr: null" in result.out
    assert "lr: 0.002" in cli(f"{line} --model.optimizer adamw --model.lr 0.002 --print_config").out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--model.optimizer adamw", "has the state of sgd: resume with --model.optimizer sgd"),
        ("--model.unfreeze all", "trains other layers than these options"),
        ("--model.unfreeze head --model.unfreeze_at 0", "trains other layers than these options"),
    ],
)
def test_a_run_cannot_go_on_with_other_layers_or_another_optimizer(line, cli, change, message):
    assert cli(f"{line} --trainer.max_epochs 2").code == 0
    result = cli(f"fit --ckpt_path last --trainer.max_epochs 4 {change}")
    assert (result.code, message in result.err, result.err.count("\n")) == (2, True, 1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--optimizer AdamW", "--model.optimizer sgd, adamw, muon or muon_sgd"),
        ("--optimizer.lr 1", "--model.optimizer sgd, adamw, muon or muon_sgd"),
        ("--lr_scheduler StepLR", "--model.schedule"),
        ("--model.optimizer adam", "adamw"),
        ("--model.unfreeze 9", "from 1 to 5"),
        ("--model.unfreeze some", "head"),
        ("--model.unfreeze_at 3", "unfreeze_at 3 is after the end of the run"),
    ],
)
def test_bad_input(line, cli, option, message):
    result = cli(f"{line} {option}")
    assert (result.code, message in result.err, result.err.count("\n")) == (2, True, 1), result.err
    assert not Path("lightning_logs").exists()


def test_the_search_for_a_rate_trains_all_that_will_be_trained(line, cli):
    words = line.replace("fit", "lr-find", 1).replace("--trainer.max_epochs 3", "--num_training 30 --max_lr 0.1")
    result = cli(words)
    assert result.code in (0, 2), result.err
    assert "unfreeze_at" not in result.err
