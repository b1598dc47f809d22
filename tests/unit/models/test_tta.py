import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from model_helpers import QUIET
from torch.utils.data import DataLoader

from lit_vision.data.batch import Batch
from lit_vision.models import Predictor, SmallCNN, TransferClassifier
from lit_vision.models.tta import mean_over_views


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
