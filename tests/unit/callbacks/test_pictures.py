from io import BytesIO

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lit_vision.callbacks import Pictures
from lit_vision.callbacks.pictures import prediction_tiles
from lit_vision.data import ImageFolderDataModule, ShapesDataModule
from lit_vision.data.image_names import files_of
from lit_vision.errors import UserError
from lit_vision.metrics import Predictions
from lit_vision.models import Classifier, SmallCNN
from lit_vision.plots import GREEN, RED

VAL = ["val/images", "val/mistakes", "val/confusion"]


def fit(folder, pictures, model=SmallCNN, epochs=3, **options):
    data = ShapesDataModule(train_size=70, test_size=10, val_size=30, batch_size=10)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(folder, "shapes"),
        callbacks=[pictures],
        enable_checkpointing=False,
        **quiet,
        **options,
    ).fit(model(class_names=data.class_names), data)
    return EventAccumulator(str(folder / "shapes" / "version_0"), {"images": 0}).Reload()


def steps(events, tag):
    return [event.step for event in events.Images(tag)]


@pytest.mark.slow
@pytest.mark.parametrize(("every", "expected"), [(1, [4, 8, 12]), (2, [8, 12]), (None, [12])])
def test_sets_are_drawn_as_often_as_asked_for_and_at_the_end(tmp_path, every, expected):
    events = fit(tmp_path, Pictures(every, count=4))
    assert {tag: steps(events, tag) for tag in events.Tags()["images"]} == {
        "train/images": [0],
        **dict.fromkeys(VAL, expected),
    }


def test_no_pictures(tmp_path):
    assert fit(tmp_path, Pictures(0)).Tags()["images"] == []


@pytest.mark.slow
def test_the_same_callback_starts_anew_in_another_fit(tmp_path):
    pictures = Pictures(2, count=4)
    fit(tmp_path / "one", pictures)
    assert steps(fit(tmp_path / "two", pictures), "train/images") == [0]


def test_training_images_are_shown_without_their_normalisation(tmp_path):
    events = fit(tmp_path, Pictures(count=1), epochs=1)
    picture = np.asarray(Image.open(BytesIO(events.Images("train/images")[0].encoded_image_string)))
    data = ShapesDataModule(train_size=70, test_size=10, val_size=30, batch_size=10)
    data.setup("fit")
    loader = data.train_dataloader()
    image = loader.take(loader.sampler.tensor()[:1]).image[0].permute(1, 2, 0).numpy()
    shown = picture[6 : 6 + 128 : 4, 6 : 6 + 128 : 4][:32, :32].astype(int)
    assert np.abs(shown - image).mean() < 6  # JPEG


def test_a_classifier_without_a_linear_layer_has_no_embedding(tmp_path):
    class Convolutional(Classifier):
        def __init__(self, **options):
            super().__init__(**options)
            self.net = nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

        def forward(self, image):
            return self.net(image)

    fit(tmp_path, Pictures(embedding=True), Convolutional, epochs=1)
    assert not list(tmp_path.rglob("tensors.tsv"))


@pytest.mark.parametrize("known", [False, True])
def test_tiles_name_the_files_of_images_where_they_are_known(folders, known):
    root = folders({"train": {"red": 3, "blue": 3}, "val": {"red": 3, "blue": 3}})
    data = ImageFolderDataModule(root=root, image_size=32)
    data.setup("validate")
    loader = data.val_dataloader()
    index = torch.tensor([0, 4])
    predictions = Predictions(index, loader.labels[index], torch.tensor([0, 0]), *[torch.tensor([0.75, 0.5])] * 2)
    paths = files_of(loader.images) if known else None
    right, wrong = prediction_tiles(loader, predictions, data.class_names, paths)
    assert right.lines == ["blue 75%", *(["0.png"] if known else [])]
    assert wrong.lines == ["blue 50%", "true: red", *(["1.png"] if known else [])]
    assert (right.colour, wrong.colour) == (GREEN, RED)


@pytest.mark.parametrize("options", [{"every_n_validations": -1}, {"count": 0}])
def test_options_out_of_range_are_errors(options):
    (name,) = options
    with pytest.raises(UserError, match=f"{name} -?\\d is below \\d: set --pictures.{name} to at least \\d"):
        Pictures(**options)
