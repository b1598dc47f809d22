from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer

from lit_vision.data import ShapesDataModule
from lit_vision.data.loader import BatchLoader
from lit_vision.errors import UserError
from lit_vision.models import WhitenedCNN
from lit_vision.models.whitened_cnn import _training_images, whitening_filters


def images(count=200, side=12):
    """Neighbouring pixels and the colours of a pixel are alike, as they are in photographs."""
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 3, 1, 1) + noise.mean(1, keepdim=True)


def test_outputs_of_whitening_filters_are_uncorrelated_and_of_variance_one():
    filters = whitening_filters(images(), eps=0.0)
    assert filters.shape == (24, 3, 2, 2)
    assert torch.equal(filters[:12], -filters[12:])
    outputs = F.conv2d(images(), filters[:12]).permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(outputs @ outputs.T / outputs.shape[1], torch.eye(12), atol=1e-3, rtol=0)


def test_whitening_a_direction_that_does_not_vary_blows_nothing_up():
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    assert whitening_filters(grey).abs().max() < 1 / 5e-4**0.5


def small(**options):
    return WhitenedCNN(widths=(8, 16, 16), **options)


def test_the_network_of_the_paper_and_its_smallest_image():
    model = WhitenedCNN()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1_971_328
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert small(image_size=17)(torch.zeros(1, 3, 17, 17)).shape == (1, 10)
    with pytest.raises(UserError, match=r"image_size 16 .*--data\.image_size to 17"):
        small(image_size=16)
    with pytest.raises(UserError, match=r"widths 0 is below 1.*--model\.widths"):
        WhitenedCNN(widths=(0, 1, 1))
    with pytest.raises(UserError, match=r"bias_lr_scale 0 .*--model\.bias_lr_scale"):
        small(bias_lr_scale=0)
    with pytest.raises(UserError, match=r"head_lr_scale 0 .*--model\.head_lr_scale"):
        small(head_lr_scale=0)
    with pytest.raises(UserError, match=r"crop_size 16 .*--data\.crop_size to 17"):
        small().check_crop_size(16)
    small().check_crop_size(17)


def test_convolutions_start_as_the_identity():
    block = small().blocks[0]
    x = torch.rand(1, 8, 5, 5)
    torch.testing.assert_close(block.conv2(x), x)


def test_biases_of_batch_norm_learn_faster_and_decay_as_fast():
    model = small(lr=0.5, weight_decay=0.01, bias_lr_scale=10.0)
    rest, biases = model.configure_optimizers().param_groups
    assert (rest["lr"], biases["lr"]) == (0.5, 5.0)
    assert rest["lr"] * rest["weight_decay"] == pytest.approx(biases["lr"] * biases["weight_decay"])
    assert len(biases["params"]) == 6
    trained = {id(parameter) for group in (rest, biases) for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert id(model.whiten.weight) not in trained


def test_filters_come_from_the_training_images_once_and_stay(tmp_path):
    changes = {"augment": ["translate"], "crop_epochs": 1, "crop_size": 20}  # which the filters do not see
    data = ShapesDataModule(batch_size=50, train_size=300, test_size=50, val_size=50, seed=0, **changes)
    model = small(lr=0.1)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(model, data)
    image = data.train_dataloader().take(torch.arange(250)).image / 255 * 2 - 1
    torch.testing.assert_close(model.whiten.weight, whitening_filters(image), atol=1e-4, rtol=1e-4)
    assert not any(norm.weight.requires_grad for norm in model.modules() if isinstance(norm, torch.nn.BatchNorm2d))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = WhitenedCNN.load_from_checkpoint(tmp_path / "x.ckpt")
    assert torch.equal(again.whiten.weight, model.whiten.weight)


def test_the_first_epochs_train_on_crops_in_a_run_that_goes_on_too(tmp_path):
    sides = {"train": [], "val": []}

    class Watched(WhitenedCNN):
        def step(self, batch, stage):
            sides[stage].append(batch.image.shape[-1])
            return super().step(batch, stage)

    data = ShapesDataModule(
        batch_size=50, train_size=150, test_size=50, val_size=50, seed=0, crop_epochs=2, crop_size=24
    )
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(Watched(widths=(8, 16, 16)), data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Trainer(max_epochs=3, enable_model_summary=False, num_sanity_val_steps=0, **quiet)
    again.fit(Watched(widths=(8, 16, 16)), data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert sides["train"] == [24, 24, 24, 24, 32, 32]
    assert set(sides["val"]) == {32}


def test_trying_a_size_changes_no_statistics_and_no_modes():
    model = small()
    model.blocks[1].norm1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    model.check_crop_size(24)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes


@pytest.mark.slow
@pytest.mark.parametrize(("length", "said"), [("max_epochs 2", False), ("max_epochs 1", True), ("max_steps 3", True)])
def test_a_word_where_no_epoch_trains_on_whole_images(cli, length, said):
    data = "--data ShapesDataModule --data.train_size 200 --data.val_size 50 --data.batch_size 50 --data.crop_epochs 1"
    result = cli(f"fit --config cifar94.yaml {data} --model.widths [8,16,16] --trainer.{length}")
    assert result.code == 0, result.err
    assert ("no epoch trains on whole images" in result.out) == said


def test_filters_of_a_set_sorted_by_class_are_of_all_classes():
    picked = []

    class Loader(BatchLoader):
        def take(self, index):
            picked.append(index)
            return super().take(index[:1])

    labels = torch.arange(10).repeat_interleave(1000)
    images = torch.zeros(1, dtype=torch.uint8).expand(10_000, 3, 64, 64)
    data = ShapesDataModule(image_size=64)
    _training_images(SimpleNamespace(train_dataloader=Loader(images, labels, 32), datamodule=data))
    assert torch.bincount(labels[picked[0]]).tolist() == [125] * 10
