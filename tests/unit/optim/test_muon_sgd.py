import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from lit_vision.data import ShapesDataModule
from lit_vision.models import WhitenedCNN
from lit_vision.optim import MuonSGD
from lit_vision.optim.muon_sgd import orthogonalize

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2, 8, 20), (2, 20, 8), (1, 5, 5)])
def test_singular_values_come_close_to_one_and_directions_stay(shape):
    matrices = random(*shape)
    found = orthogonalize(matrices, 8)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ found @ right.mT  # diagonal if the directions are the same
    values = inner.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(inner, torch.diag_embed(values), atol=1e-4, rtol=0)
    assert (values > 0.6).all()
    assert (values < 1.3).all()


def test_zeros_stay_zeros():
    assert torch.equal(orthogonalize(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def test_all_but_convolutions_are_trained_as_by_sgd():
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    pairs = [(ours, MuonSGD(ours.parameters(), **options)), (theirs, torch.optim.SGD(theirs.parameters(), **options))]
    for step in range(4):
        for network, optimizer in pairs:
            optimizer.zero_grad()
            network(random(7, 5, seed=step)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_a_convolution_turns_by_the_orthogonalised_momentum_of_its_filters():
    weight = nn.Parameter(random(4, 3, 3, 3))
    optimizer = MuonSGD([weight], lr=0.25, momentum=0.5, nesterov=True)
    momentum, expected = torch.zeros(4, 3, 3, 3), weight.detach().clone()
    for step in range(3):
        gradient = random(4, 3, 3, 3, seed=step + 1)
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.5 * momentum + gradient
        update = orthogonalize((gradient + 0.5 * momentum).flatten(1)[None])[0].view_as(weight)
        expected = expected * 2 / expected.norm() - 0.25 * update  # a norm of 2, for four filters
        torch.testing.assert_close(weight.detach(), expected)


def test_convolutions_of_one_shape_are_updated_together_as_they_are_alone():
    weights = [random(4, 3, 3, 3), random(6, 4, 3, 3, seed=1), random(4, 3, 3, 3, seed=2)]
    together, alone = ([nn.Parameter(weight.clone()) for weight in weights] for _ in range(2))
    optimizers = [MuonSGD(together, lr=0.1), *(MuonSGD([weight], lr=0.1) for weight in alone)]
    for number, weight in enumerate(weights):
        together[number].grad = alone[number].grad = weight.flip(0)
    for optimizer in optimizers:
        optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_a_parameter_without_a_gradient_stays_and_a_closure_is_called():
    weight = nn.Parameter(random(4, 3, 3, 3))
    before = weight.detach().clone()
    assert MuonSGD([weight], lr=0.1).step(lambda: 3.0) == 3.0
    assert torch.equal(weight, before)


def test_bfloat16_is_close_to_float32():
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        weight = nn.Parameter(random(4, 3, 3, 3))
        weight.grad = random(4, 3, 3, 3, seed=1)
        MuonSGD([weight], lr=0.1, dtype=dtype).step()
        assert weight.dtype == torch.float32
        results.append(weight.detach())
    assert not torch.equal(*results)
    torch.testing.assert_close(*results, atol=0.01, rtol=0)


OPTIONS = {"optimizer": "muon_sgd", "momentum": 0.6, "nesterov": True, "weight_decay": 0.02, "schedule": "one_cycle"}


def network():
    torch.manual_seed(0)
    return WhitenedCNN(widths=(8, 16, 16), lr=0.2, head_lr_scale=5.0, bias_lr_scale=0.5, **OPTIONS)


def data():
    small = {"crop_epochs": 1, "crop_size": 20, "crop_from": 24}
    return ShapesDataModule(batch_size=50, train_size=300, test_size=50, val_size=50, seed=0, **small)


def test_groups_have_their_rates_and_convolutions_do_not_decay():
    filters, head, biases = network().configure_optimizers().param_groups
    assert [group["lr"] for group in (filters, head, biases)] == pytest.approx([0.2, 1.0, 0.1])
    assert filters["weight_decay"] == 0.0
    assert head["lr"] * head["weight_decay"] == pytest.approx(0.2 * 0.02)
    assert biases["lr"] * biases["weight_decay"] == pytest.approx(0.2 * 0.02)
    assert [len(group["params"]) for group in (filters, head, biases)] == [6, 1, 6]


class SaveAt(Callback):
    """Saves a checkpoint once, after so many steps."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("step", [3, 8])  # within the epoch of small images, and within one of whole images
def test_a_run_that_goes_on_ends_as_one_that_was_not_interrupted(tmp_path, step):
    path, ends = tmp_path / "x.ckpt", []
    for resume in (None, path):
        trainer = Trainer(max_epochs=3, enable_checkpointing=False, callbacks=[SaveAt(step, path)], **QUIET)
        model = network()
        trainer.fit(model, data(), ckpt_path=resume, weights_only=True)
        assert trainer.global_step == 15
        ends.append(model.state_dict())
    torch.testing.assert_close(ends[1], ends[0])
