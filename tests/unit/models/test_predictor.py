import threading
import time
from pathlib import Path

import pytest
import torch
from model_helpers import fit_transfer, transfer
from PIL import Image

from lit_vision.data.transforms import normalize, to_float
from lit_vision.errors import UserError
from lit_vision.models import Predictor, SmallCNN, predictions, predictor
from lit_vision.models.tta import mean_over_views


def network(**options):
    torch.manual_seed(0)
    return SmallCNN(class_names=["a", "b", "c"], image_size=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), **options)


@pytest.fixture
def files(tmp_path):
    """Seven images, and in their middle a file that is none."""
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        Image.effect_noise((20, 18), 20 + number).convert("RGB").save(path)
    paths[3].write_bytes(b"no image")
    return paths


def test_a_predictor_normalises_and_leaves_the_model_as_it_is():
    model = network().train()
    image = torch.rand(4, 3, 16, 16)
    own = Predictor(model)
    assert not own.training
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.input_spec.mean, model.input_spec.std))
    torch.testing.assert_close(own(image), model.eval()(normalize(image, mean, std)).softmax(1))


@pytest.mark.parametrize("values", [2**21, 3 * 16**2 * 3])
@pytest.mark.parametrize("slow", [False, True])
def test_predictions_are_those_of_the_files_in_their_order(files, monkeypatch, values, slow):
    monkeypatch.setattr(predictor, "_BATCH_VALUES", values)  # all in one batch, or three in each
    read, threads = predictor.read_image, set()

    def read_slowly(path: Path, *options):
        threads.add(threading.get_ident())
        time.sleep(0.01 * slow)
        return read(path, *options)

    monkeypatch.setattr(predictor, "read_image", read_slowly)
    model = network()
    found = list(predictions(model, files, "cpu"))
    assert [prediction.path for prediction in found] == files
    assert found[3].image is None
    assert found[3].probabilities == []
    assert "3.png" in found[3].error
    rest = [prediction for prediction in found if prediction.image is not None]
    expected = Predictor(model)(to_float(torch.stack([prediction.image for prediction in rest])))
    torch.testing.assert_close(torch.tensor([prediction.probabilities for prediction in rest]), expected)
    assert all(prediction.error == "" for prediction in rest)
    assert slow or threads == {threading.get_ident()}


def test_no_files():
    assert list(predictions(network(), [], "cpu")) == []


def test_a_caller_may_stop_early(files):
    generator = predictions(network(), files, "cpu")
    assert next(generator).path == files[0]
    generator.close()


@pytest.mark.parametrize(("model", "asked", "views"), [(False, None, False), (False, True, True), (True, False, False)])
def test_test_time_augmentation_is_the_models_or_as_asked_for(files, model, asked, views):
    trained = network(tta=model)
    (found,) = predictions(trained, files[:1], "cpu", tta=asked)
    assert trained.tta == model
    plain = Predictor(network())
    image = (to_float(found.image[None]) - plain.mean) / plain.std
    expected = mean_over_views(plain.model, image) if views else plain.model(image)
    torch.testing.assert_close(torch.tensor([found.probabilities]), expected.softmax(1))


@pytest.mark.parametrize("device", ["meta", "cuda:99", "nosuch"])
def test_no_such_device(files, device):
    with pytest.raises(UserError, match=f"there is no device {device}.*--device"):
        next(predictions(network(), files, device))


@pytest.mark.slow
def test_features_that_a_run_has_computed_are_not_computed_again(pictures, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    model = transfer()
    fit_transfer(pictures, model, 1, mean=0.4)
    model.input_spec = model.input_spec._replace(mean=(0.4, 0.4, 0.4), decoding="reduced")
    paths = [*sorted(pictures.glob("val/*/*")), pictures / "missing.png"]
    passed = []
    fold = predictor.fold_for_inference

    def counted(backbone):
        folded = fold(backbone)
        folded.register_forward_hook(lambda module, args, output: passed.append(len(args[0])))
        return folded

    monkeypatch.setattr(predictor, "fold_for_inference", counted)
    known = [*predictions(model, paths[:-1])]
    assert passed == []
    assert predictions_without_cache(monkeypatch, model, paths[:-1]) == pytest.approx(
        torch.tensor([found.probabilities for found in known]), abs=1e-5
    )
    assert sum(passed) == len(known)
    assert [*predictions(model, paths)][-1].error
    with_views = [*predictions(model, paths[:1], tta=True)]
    assert sum(passed) > 2 * len(known)
    assert with_views[0].probabilities != known[0].probabilities


def predictions_without_cache(monkeypatch, model, paths):
    with monkeypatch.context() as changed:
        changed.setenv("LIT_VISION_CACHE", "none")
        return torch.tensor([found.probabilities for found in predictions(model, paths)])
