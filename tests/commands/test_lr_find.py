from types import SimpleNamespace

import pytest
import torch

from lit_vision.commands.lr_find import Finding, TuningTrainer
from lit_vision.data import ShapesDataModule
from lit_vision.models import WhitenedCNN


def as_lightning_has_it(losses):
    """Its running mean, whose bias is taken out with one step too many."""
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = 0.98 * mean + 0.02 * loss
        smoothed.append(mean / (1 - 0.98 ** (step + 1)))
    rates = torch.logspace(-6, 0, len(losses), dtype=torch.float64).tolist()
    return SimpleNamespace(results={"loss": smoothed, "lr": rates})


def test_the_losses_are_those_of_the_batches():
    losses = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = Finding.of(as_lightning_has_it(losses.tolist()))
    torch.testing.assert_close(found.losses, losses)
    torch.testing.assert_close(found.trend[0], losses[:5].mean())


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_loss_that_stays_suggests_nothing(noise):
    losses = 2.3 + noise * torch.rand(200, generator=torch.Generator().manual_seed(0))
    assert Finding.of(as_lightning_has_it(losses.tolist())).suggestion is None


def test_the_suggestion_is_where_the_loss_falls():
    noise = torch.rand(100, generator=torch.Generator().manual_seed(0)) - 0.5
    losses = torch.tensor([2.3] * 60 + [2.0] * 5 + [0.5] * 5 + [3.0] * 30) + noise
    found = Finding.of(as_lightning_has_it(losses.tolist()))
    assert found.suggestion is not None
    assert found.rates[55] < found.suggestion < found.rates[72]


@pytest.mark.parametrize("losses", [[1.0] * 3, [float("nan")] * 40])
def test_too_little_to_tell(losses):
    assert Finding.of(as_lightning_has_it(losses)).suggestion is None


def test_the_search_sees_whole_images_alone(tmp_path):
    sides = set()

    class Watched(WhitenedCNN):
        def training_step(self, batch, batch_idx):
            sides.add(batch.image.shape[-1])
            return super().training_step(batch, batch_idx)

    crops = {"crop_epochs": 2, "crop_size": 20}
    data = ShapesDataModule(train_size=100, test_size=20, val_size=20, batch_size=16, seed=0, **crops)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    TuningTrainer(max_epochs=-1, default_root_dir=tmp_path, **quiet).lr_find(
        Watched((8, 16, 16)), data, num_training=20
    )
    assert sides == {32}
    assert data.crop_epochs == 2
