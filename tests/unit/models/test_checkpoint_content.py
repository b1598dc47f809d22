import math

import pytest
import torch

from lit_vision.errors import UserError
from lit_vision.models import Classifier, SmallCNN
from lit_vision.models.checkpoint import read_checkpoint
from lit_vision.models.checkpoint_content import check_content, check_tensors, check_training_state
from lit_vision.models.weights_file import read_weights

NAN, INF = math.nan, math.inf


@pytest.fixture
def good():
    model = SmallCNN(class_names=["a", "b"])
    return {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "model_class": "lit_vision.models.small_cnn.SmallCNN",
        "epoch": 1,
        "global_step": 10,
        "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": 1}}}},
        "callbacks": {},
        "optimizer_states": [{"state": {}, "param_groups": []}],
    }


def test_what_a_run_writes_passes(good):
    check_content(good, "x.ckpt")
    check_training_state(good, "x.ckpt")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("class_names", 7),
        ("class_names", "ab"),
        ("class_names", []),
        ("class_names", ["a", 1]),
        ("image_size", 1_000_000),
        ("image_size", 0),
        ("image_size", 32.5),
        ("image_size", True),
        ("mean", [0.5]),
        ("mean", [0.5, NAN, 0.5]),
        ("mean", "x"),
        ("std", [0, 1, 1]),
        ("std", [INF, 1, 1]),
        ("resize", "other"),
        ("decoding", "other"),
    ],
)
def test_options_that_cannot_be_right_are_named(good, tmp_path, option, value):
    good["hyper_parameters"][option] = value
    torch.save(good, path := tmp_path / "lie.ckpt")
    for read in (read_checkpoint, read_weights, Classifier.load_from_checkpoint):
        with pytest.raises(UserError, match=rf"lie.ckpt cannot be right, since its {option} is "):
            read(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state_dict", [1]),
        ("hyper_parameters", None),
        ("hyper_parameters", {1: 2}),
        ("model_class", 7),
        ("epoch", "x"),
        ("global_step", -1),
        ("loops", 7),
        ("callbacks", {"EpochLog": 7}),
        ("optimizer_states", [{}]),
        ("train_sums", "x"),
        ("provenance", [7]),
        ("provenance", [{"data": 7}]),
    ],
)
def test_parts_that_cannot_be_right_are_named(good, key, value):
    with pytest.raises(UserError, match=f"its {key} is "):
        check_content({**good, key: value}, "x.ckpt")


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.tensor([1.0, NAN]), "NaN or infinite"),
        (torch.tensor([INF]), "NaN or infinite"),
        (torch.ones(2, 2).to_sparse(), "in a form that no network has"),
        (torch.ones(2, dtype=torch.complex64), "in a form that no network has"),
        (torch.ones(2, device="meta"), "in a form that no network has"),
    ],
)
def test_tensors_that_are_no_weights_are_named(tensor, words):
    with pytest.raises(UserError, match=words):
        check_tensors({"a.weight": tensor}, "x.ckpt")


def test_masks_and_counters_are_fine():
    check_tensors({"mask": torch.tensor([0.0, -INF]), "count": torch.tensor(3), "extra": {"a": 1}}, "x.ckpt")


@pytest.mark.parametrize("key", ["loops", "global_step", "optimizer_states", "callbacks"])
def test_weights_without_a_training_cannot_be_resumed(good, key):
    del good[key]
    with pytest.raises(UserError, match=r"not the state of a training, to resume: start from it with --model.weights"):
        check_training_state(good, "x.ckpt")


def test_options_that_the_network_cannot_have_are_no_fault_of_the_code(good, tmp_path):
    good["hyper_parameters"]["channels"] = 7
    torch.save(good, path := tmp_path / "lie.ckpt")
    with pytest.raises(UserError, match="has options that SmallCNN cannot have"):
        Classifier.load_from_checkpoint(path)


def test_a_fault_in_a_network_of_the_users_own_stays_one(good, tmp_path):
    class Broken(SmallCNN):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            raise KeyError("a bug")

    good["model_class"] = f"{Broken.__module__}.{Broken.__qualname__}"
    torch.save(good, path := tmp_path / "own.ckpt")
    with pytest.raises(KeyError, match="a bug"):
        Classifier.load_from_checkpoint(path)
