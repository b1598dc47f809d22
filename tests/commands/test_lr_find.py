from pathlib import Path

import pytest
import torch

from lit_vision.commands import lr_find
from lit_vision.models import SmallCNN, WhitenedCNN

SHORT = "lr-find --trainer.accelerator cpu --num_training 20"


@pytest.fixture
def searched(monkeypatch):
    """The rates and losses that a search draws, as the arguments of ``plot_rate_search``."""
    drawn = []
    plot = lr_find.plot_rate_search
    monkeypatch.setattr(lr_find, "plot_rate_search", lambda *args: (drawn.append(args), plot(*args)))
    return drawn


def test_each_loss_is_that_of_a_batch_at_a_rate(cli, monkeypatch, searched):
    seen = []
    step = SmallCNN.training_step

    def watch(self, batch, batch_idx):
        output = step(self, batch, batch_idx)
        loss = output if isinstance(output, torch.Tensor) else output["loss"]
        seen.append((self.trainer.optimizers[0].param_groups[0]["lr"], loss.item()))
        return output

    monkeypatch.setattr(SmallCNN, "training_step", watch)
    cli(f"{SHORT} --config shapes.yaml --data.train_size 400 --data.val_size 100 --max_lr 0.1")
    ((rates, losses, *_),) = searched
    torch.testing.assert_close(rates, torch.logspace(-4, -1, 20, dtype=torch.float64))
    assert rates.tolist() == pytest.approx([rate for rate, _ in seen])
    assert losses.tolist() == [loss for _, loss in seen]


def test_losses_end_where_they_are_nan_or_infinite(cli, searched):
    cli(f"{SHORT} --config shapes.yaml --data.train_size 400 --data.val_size 100 --max_lr 1e30")
    ((rates, losses, *_),) = searched
    assert 0 < len(losses) < 20
    assert len(rates) == len(losses)
    assert losses.isfinite().all()


def test_a_loss_that_never_goes_down_is_one_line(cli):
    result = cli(f"{SHORT} --config shapes.yaml --data.train_size 400 --data.val_size 100 --min_lr 1e-9 --max_lr 1e-8")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert all(words in result.err for words in ("lightning_logs/shapes/lr_find.png", "--num_training", "--max_lr"))
    assert Path("lightning_logs/shapes/lr_find.png").is_file()


def test_the_search_sees_whole_images_alone(cli, monkeypatch):
    sides, modules = set(), set()
    step = WhitenedCNN.training_step

    def watch(self, batch, batch_idx):
        sides.add(batch.image.shape[-1])
        modules.add(self.trainer.datamodule)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(WhitenedCNN, "training_step", watch)
    data = "--data ShapesDataModule --data.train_size 100 --data.test_size 20 --data.val_size 20 --data.batch_size 16"
    crops = "--data.image_size 32 --data.crop_epochs 2 --data.crop_size 20"
    cli(f"{SHORT} --config cifar94.yaml {data} {crops} --model.widths [8,16,16]")
    assert sides == {32}
    assert [data.crop_epochs for data in modules] == [2]
