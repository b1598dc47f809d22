import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from model_helpers import NAMES, QUIET, batches, small
from torch import nn

from lit_vision.errors import UserError
from lit_vision.models import Classifier, SmallCNN


def test_a_checkpoint_opens_alone_and_gives_the_same_logits(tmp_path):
    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    model = small(hidden=(20, 10), activation="Tanh", lr=0.05, mean=(0.1, 0.2, 0.3))
    trainer.fit(model, batches([4] * 5))
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    for opened in (Classifier.load_from_checkpoint(path), SmallCNN.load_from_checkpoint(path)):
        assert isinstance(opened, SmallCNN)
        assert not opened.training
        assert opened.trained
        assert opened.class_names == NAMES
        assert dict(opened.hparams) == dict(model.hparams)
        image = next(iter(batches([6]))).image
        assert torch.equal(opened(image), model.eval()(image))
    content = torch.load(path, weights_only=True)
    assert content["model_class"] == "lit_vision.models.small_cnn.SmallCNN"
    assert all(isinstance(value, (str, int, float, list, tuple)) for value in content["hyper_parameters"].values())


def test_checkpoints_that_do_not_fit(tmp_path):
    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    trainer.fit(small(), batches([4]))
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    for model, message in (
        (small(hidden=(7, 8)), "layer1.weight has shape"),
        (SmallCNN(class_names=["a", "c", "b"], image_size=16), "knows the classes a, b, c"),
    ):
        with pytest.raises(UserError, match=message):
            Trainer(**QUIET, enable_checkpointing=False).validate(model, batches([4]), path, weights_only=True)

    class Other(SmallCNN):
        pass

    with pytest.raises(
        UserError,
        match=r"holds a lit_vision\.models\.small_cnn\.SmallCNN, which is not a Other.*SmallCNN or Classifier",
    ):
        Other.load_from_checkpoint(path)
    (tmp_path / "half.ckpt").write_bytes(path.read_bytes()[:1000])
    torch.save(small().state_dict(), tmp_path / "weights.pth")
    for name, message in (
        ("half.ckpt", "is damaged .it is cut short"),
        ("weights.pth", "is not a checkpoint of a run.*--model.weights"),
        ("none.ckpt", "there is no"),
    ):
        with pytest.raises(UserError, match=message):
            Classifier.load_from_checkpoint(tmp_path / name)


class Own(Classifier):
    """All that a network of one's own needs."""

    def __init__(self, hidden=32, **kwargs):
        super().__init__(**kwargs)
        self.features = nn.Sequential(nn.Conv2d(3, hidden, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(hidden, len(self.class_names))

    def forward(self, image):
        return self.head(self.features(image).flatten(1))


class Fixed(Own):
    """Takes no options of Classifier, and sets them itself."""

    def __init__(self, hidden=4):
        super().__init__(hidden, class_names=NAMES, image_size=16, lr=0.02)


class Partly(Own):
    """Sets one option itself, and leaves the others to the caller."""

    def __init__(self, **kwargs):
        super().__init__(lr=0.3, **kwargs)


def fitted(model, path):
    """The model after an epoch, in eval mode; path gets its checkpoint."""
    trainer = Trainer(max_epochs=1, **QUIET, enable_checkpointing=False)
    trainer.fit(model, batches([4] * 5), batches([4] * 2))
    trainer.save_checkpoint(path)
    return model.eval()


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Own, {"class_names": NAMES, "image_size": 16, "hidden": 5, "schedule": "one_cycle", "lr": 0.1}),
        (Fixed, {"hidden": 6}),
        (Partly, {"class_names": NAMES, "image_size": 16, "hidden": 6}),
    ],
)
def test_a_network_of_ones_own_trains_saves_and_loads(tmp_path, make, options):
    model = make(**options)
    before = model.head.weight.clone()
    fitted(model, tmp_path / "x.ckpt")
    assert not torch.equal(model.head.weight, before)
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert content["model_class"] == f"{__name__}.{make.__name__}"
    opened = Classifier.load_from_checkpoint(tmp_path / "x.ckpt")
    assert type(opened) is make
    assert dict(opened.hparams) == dict(model.hparams)
    image = next(iter(batches([6]))).image
    assert torch.equal(opened(image), model(image))
    again = Trainer(max_epochs=2, **QUIET, enable_checkpointing=False)
    again.fit(make(**options), batches([4] * 5), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert again.global_step == 10


def test_the_example_in_the_docstring_runs(tmp_path):
    doc = Classifier.__doc__
    example = doc[doc.index("from torch import nn") : doc.index("    Args:")]
    code = "\n".join(line.removeprefix(" " * 12) for line in example.splitlines())
    namespace = {"__name__": "my_net"}
    exec(code, namespace)
    model = fitted(namespace["MyNet"](hidden=8, class_names=NAMES, image_size=16), tmp_path / "x.ckpt")
    opened = Classifier.load_from_checkpoint(tmp_path / "x.ckpt")
    assert (type(opened), opened.hparams["hidden"]) == (type(model), 8)


def test_a_class_that_is_not_imported_is_named(tmp_path):
    path = tmp_path / "x.ckpt"
    fitted(Own(class_names=NAMES, image_size=16), path)
    for name, message in (
        (
            "other_net.MyNet",
            r"holds a other_net\.MyNet, which is not imported: use --model other_net\.MyNet",
        ),
        ("SmallCNN", "holds a SmallCNN, which is not imported"),
        ("__main__.OtherNet", r"not imported: use --model MODULE\.OtherNet"),
        (None, "does not say which class it holds"),
    ):
        content = torch.load(path, weights_only=True)
        content["model_class"] = name
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(UserError, match=message):
            Classifier.load_from_checkpoint(tmp_path / "other.ckpt")
    assert "other_net" not in sys.modules


def test_a_class_of_a_script_loads_by_the_name_of_its_module(tmp_path):
    path = tmp_path / "x.ckpt"
    model = fitted(Own(class_names=NAMES, image_size=16), path)
    content = torch.load(path, weights_only=True)
    content["model_class"] = "__main__.Own"
    torch.save(content, path)
    image = next(iter(batches([6]))).image
    assert torch.equal(Classifier.load_from_checkpoint(path)(image), model(image))


def test_a_subclass_of_a_network_with_weights_starts_from_none(tmp_path):
    class Wider(SmallCNN):
        def __init__(self, factor=1, **kwargs):
            super().__init__(channels=(6 * factor, 16), **kwargs)

    torch.save(Wider(2, class_names=NAMES, image_size=16).state_dict(), tmp_path / "x.pth")
    model = Wider(2, weights=tmp_path / "x.pth", class_names=NAMES, image_size=16)
    fitted(model, tmp_path / "x.ckpt")
    Path(tmp_path / "x.pth").unlink()
    opened = Classifier.load_from_checkpoint(tmp_path / "x.ckpt")
    assert torch.equal(opened.conv1.weight, model.conv1.weight)


def test_options_replace_saved_hyperparameters(tmp_path):
    fitted(small(), tmp_path / "x.ckpt")
    assert Classifier.load_from_checkpoint(tmp_path / "x.ckpt", tta=True).tta
    with pytest.raises(TypeError, match="no_such_option"):
        Classifier.load_from_checkpoint(tmp_path / "x.ckpt", no_such_option=1)
