import pytest
import torch

from lit_vision.commands.lr_find import analyse


def rates(count):
    return torch.logspace(-6, 0, count, dtype=torch.float64)


def test_the_trend_is_the_mean_of_the_batches_losses():
    losses = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = analyse(rates(50), losses)
    torch.testing.assert_close(found.losses, losses)
    torch.testing.assert_close(found.trend[0], losses[:5].mean())
    assert len(found.rates) == len(found.losses) == len(found.trend) + 4


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_loss_that_stays_suggests_nothing(noise):
    losses = 2.3 + noise * torch.rand(200, generator=torch.Generator().manual_seed(0))
    assert analyse(rates(200), losses.double()).suggestion is None


def test_the_suggestion_is_where_the_loss_falls():
    noise = torch.rand(100, generator=torch.Generator().manual_seed(0)) - 0.5
    losses = torch.tensor([2.3] * 60 + [2.0] * 5 + [0.5] * 5 + [3.0] * 30) + noise
    found = analyse(rates(100), losses.double())
    assert found.suggestion is not None
    assert found.rates[55] < found.suggestion < found.rates[72]


@pytest.mark.parametrize("losses", [[1.0] * 3, []])
def test_too_few_losses_suggest_nothing(losses):
    found = analyse(rates(40), torch.tensor(losses, dtype=torch.float64))
    assert found.suggestion is None
    assert len(found.rates) == len(losses)
