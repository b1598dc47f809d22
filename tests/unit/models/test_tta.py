import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from model_helpers import QUIET
from torch.utils.data import DataLoader

from lit_vision.data.batch import Batch
from lit_vision.errors import UserError
from lit_vision.models import Predictor, SmallCNN, TransferClassifier
from lit_vision.models.tta import mean_over_views, over_views


def test_it_is_the_mean_over_six_views():
    image = torch.rand(2, 3, 6, 7)
    seen = []

    def network(view):
        seen.append(view)
        return torch.stack([view[:, 0, 0, 0], view[:, 1, 2, 3]], 1)

    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    up_left, down_right = padded[:, :, 2:, 2:], padded[:, :, :-2, :-2]
    torch.testing.assert_close(up_left[:, :, :-1, :-1], image[:, :, 1:, 1:])
    torch.testing.assert_close(down_right[:, :, 1:, 1:], image[:, :, :-1, :-1])
    result = mean_over_views(network, image)
    assert len(seen) == 6
    weights = [(image, 1 / 2), (up_left, 1 / 4), (down_right, 1 / 4)]
    expected = sum(weight * (network(view) + network(view.flip(-1))) / 2 for view, weight in weights)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_number_spends_the_views_on_the_unsure_images_alone(temperature):
    torch.manual_seed(0)
    model = SmallCNN(class_names=["a", "b", "c"], image_size=32).eval()
    image, seen = torch.randn(40, 3, 32, 32), []

    def network(view):
        seen.append(len(view))
        return 3 * model(view)

    with torch.no_grad():
        plain, mean = 3 * model(image), mean_over_views(lambda view: 3 * model(view), image)
        confidence = (plain / temperature).softmax(1).amax(1)
        below = confidence.median().item()
        found = over_views(network, image, below, temperature)
        unsure = confidence < below
        assert 0 < unsure.sum() < 40
        torch.testing.assert_close(found, torch.where(unsure[:, None], mean, plain), atol=1e-5, rtol=1e-5)
        assert seen == [40] + [int(unsure.sum())] * 5
        torch.testing.assert_close(over_views(network, image, 1.0), mean, atol=1e-5, rtol=1e-5)
        seen.clear()
        assert torch.equal(over_views(network, image, 1e-6), plain)  # none is so unsure
        assert seen == [40]
        one_by_one = torch.cat([over_views(network, one, below, temperature) for one in image.split(1)])
        torch.testing.assert_close(one_by_one, found, atol=1e-4, rtol=1e-4)


def test_a_number_is_a_probability():
    for tta in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"tta .* is out of range: use --model\.tta"):
            SmallCNN(tta=tta)
    with pytest.raises(UserError, match=r"--model\.tta"):
        Predictor(SmallCNN(), tta=2.0)


def test_an_exported_network_spends_its_views_on_the_same_images():
    torch.manual_seed(0)
    model = SmallCNN(class_names=["a", "b", "c"], image_size=32, tta=0.4)
    image = torch.rand(20, 3, 32, 32)
    predictor = Predictor(model)
    exported = torch.export.export(predictor, (image,), strict=False).module()
    confidence = Predictor(model, tta=False)(image).amax(1)
    assert 0 < (confidence < 0.4).sum() < 20
    torch.testing.assert_close(exported(image), predictor(image))


@pytest.mark.parametrize("kind", [SmallCNN, TransferClassifier])
def test_test_and_predict_use_it_and_validation_does_not(kind):
    torch.manual_seed(0)
    options = {"arch": "resnet18", "weights": None} if kind is TransferClassifier else {}
    model = kind(class_names=["a", "b", "c"], image_size=32, tta=True, **options).eval()
    batch = Batch(torch.randn(5, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1]), torch.arange(5))
    loader, trainer = DataLoader([batch], batch_size=None), Trainer(**QUIET, enable_checkpointing=False)
    with torch.no_grad():
        plain, mean = model(batch.image), mean_over_views(model, batch.image)
    assert not torch.allclose(plain, mean)
    for stage, logits in (("val", plain), ("test", mean)):
        found = (trainer.validate if stage == "val" else trainer.test)(model, loader, verbose=False)[0]
        assert found[f"{stage}/loss"] == pytest.approx(F.cross_entropy(logits, batch.label).item(), rel=1e-5)
    probability = Predictor(model)((batch.image + 1) / 2)
    torch.testing.assert_close(probability, mean.softmax(1), atol=1e-5, rtol=1e-4)
