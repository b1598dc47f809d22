from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything

from lit_vision.data import ShapesDataModule
from lit_vision.data.batch import Batch, FeatureBatch
from lit_vision.data.datamodule import image_data
from lit_vision.errors import UserError

CROPS = {"crop_epochs": 2, "crop_size": 24}
BATCH = Batch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2).long(), torch.arange(2))
FEATURES = FeatureBatch(torch.rand(2, 5), torch.zeros(2).long(), torch.arange(2))


@pytest.mark.parametrize(
    ("option", "least"),
    [("batch_size", 1), ("val_size", 0), ("crop_epochs", 0), ("crop_size", 1), ("image_size", 1), ("train_size", 10)],
)
def test_options_out_of_range_are_named(option, least):
    ShapesDataModule(**{"crop_size": 8, option: least})
    with pytest.raises(UserError, match=rf"{option} {least - 1} .*--data\.{option} to at least {least}"):
        ShapesDataModule(**{"crop_size": 8, option: least - 1})
    with pytest.raises(UserError, match=r"std 0\.0 .*--data\.std"):
        ShapesDataModule(std=(0.5, 0.5, 0.0))


def test_crops_need_a_size_that_fits():
    with pytest.raises(UserError, match=r"--data\.crop_size"):
        ShapesDataModule(crop_epochs=1)
    with pytest.raises(UserError, match=r"crop_size 33 .*32.*--data\.crop_size"):
        ShapesDataModule(crop_epochs=1, crop_size=33).setup("fit")
    with pytest.raises(UserError, match=r"crop_from 23 is smaller than the crops \(24\).*--data\.crop_from"):
        ShapesDataModule(crop_epochs=1, crop_size=24, crop_from=23)
    with pytest.raises(UserError, match=r"crop_from 33 .*32.*--data\.crop_from"):
        ShapesDataModule(crop_epochs=1, crop_size=24, crop_from=33).setup("fit")


def test_seed_is_that_of_seed_everything_unless_it_is_given():
    assert ShapesDataModule().seed == 0
    seed_everything(7, verbose=False)
    assert ShapesDataModule().seed == 7
    assert ShapesDataModule(seed=3).seed == 3


def test_training_sizes():
    assert ShapesDataModule().training_sizes() == (32,)
    assert ShapesDataModule(image_size=48, **CROPS).training_sizes() == (24, 48)
    assert ShapesDataModule(crop_size=24).training_sizes() == (32,)


def test_varying_images():
    assert ShapesDataModule(crop_size=24).varying_images() is None
    assert ShapesDataModule(augment=["flip"]).varying_images() == "augmentation changes the images"
    assert ShapesDataModule(**CROPS).varying_images() == "the first epochs see smaller images"
    assert ShapesDataModule(augment=["flip"], **CROPS).varying_images() == "augmentation changes the images"


def test_whole_images_are_without_crops_and_end_in_an_error():
    data = ShapesDataModule(seed=0, **CROPS)
    assert data.preprocess(BATCH, 0).image.shape[-1] == 24
    with pytest.raises(ValueError, match="stop"), data.whole_images():  # noqa: PT012
        assert data.preprocess(BATCH, 0).image.shape[-1] == 32
        assert data.training_sizes() == (32,)
        assert data.varying_images() is None
        raise ValueError("stop")
    assert data.preprocess(BATCH, 0).image.shape[-1] == 24


@pytest.mark.parametrize(
    ("epochs", "options", "warns"),
    [
        (1, CROPS, True),
        (2, CROPS, True),
        (2.5, CROPS, False),
        (float("inf"), CROPS, False),
        (0, CROPS, False),
        (-1, CROPS, False),
        (1, {}, False),
    ],
)
def test_a_run_of_crops_alone_is_pointed_out(caplog, epochs, options, warns):
    ShapesDataModule(**options).warn_if_only_crops(epochs)
    assert ("no epoch trains on whole images" in caplog.text) == warns


def test_a_debug_run_of_crops_alone_is_not_pointed_out(caplog, tmp_path):
    data = ShapesDataModule(**CROPS)
    data.trainer = Trainer(fast_dev_run=True, accelerator="cpu", default_root_dir=tmp_path)
    data.warn_if_only_crops(1)
    assert "no epoch" not in caplog.text


def test_image_data_is_the_trainers_data_module_if_it_is_ours():
    trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    assert image_data(trainer) is None
    trainer.datamodule = LightningDataModule()
    assert image_data(trainer) is None
    trainer.datamodule = ShapesDataModule()
    assert image_data(trainer) is trainer.datamodule


def test_batches_of_both_kinds_are_moved_and_images_alone_are_preprocessed():
    data = ShapesDataModule(seed=0, augment=["flip"])
    for batch in (BATCH, FEATURES):
        moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
        assert type(moved) is type(batch)
        assert {tensor.device.type for tensor in moved} == {"meta"}
    assert data.on_after_batch_transfer(FEATURES, 0) is FEATURES
    assert data.on_after_batch_transfer(BATCH, 0).image.dtype == torch.float32
    example = torch.zeros(1, 3, 32, 32)  # the input of the model summary
    assert data.on_after_batch_transfer(data.transfer_batch_to_device(example, torch.device("cpu"), 0), 0) is example


def test_augmentation_and_crops_are_for_training_alone():
    data = ShapesDataModule(seed=0, augment=["flip"], **CROPS)
    image = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batch = BATCH._replace(image=image)
    for training, epoch in ((True, 0), (True, 2), (False, 0)):
        data.trainer = SimpleNamespace(training=training, current_epoch=epoch)
        result = data.on_after_batch_transfer(batch, 0).image
        assert torch.equal(result, data.preprocess(batch, epoch if training else None).image)


def test_one_value_stands_for_all_where_it_is_plain_what_is_meant():
    data = ShapesDataModule(augment="flip", mean=0.4, std=0.2)
    assert data.augment == ("flip",)
    assert (data.mean, data.std) == ((0.4, 0.4, 0.4), (0.2, 0.2, 0.2))


def test_no_workers_means_no_threads():
    assert ShapesDataModule(num_workers=0).num_workers == 0
    assert ShapesDataModule().num_workers >= 1
