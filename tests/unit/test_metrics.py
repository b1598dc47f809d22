import torch
from lightning.pytorch import Trainer

from lit_vision.callbacks.outcome import PredictionCollector, Predictions
from lit_vision.callbacks.pictures import prediction_tiles
from lit_vision.data.batch import Batch, evenly_spaced
from lit_vision.data.loader import BatchLoader
from lit_vision.plots import GREEN, RED


def loader():
    labels = torch.tensor([0, 1, 2, 0, 1])
    images = labels.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).to(torch.uint8)
    return BatchLoader(images, labels, 2)


def test_batches_in_any_order_become_the_split():
    source = loader()
    collector = PredictionCollector(source, torch.device("cpu"))
    chance = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    for index in ([3, 1], [2, 0]):  # the last image is not looked at
        at = torch.tensor(index)
        collector.add(Batch(source.images[at], source.labels[at], at), chance[at].log())
    outcome = collector.outcome(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False))
    assert outcome.index.tolist() == [0, 1, 2, 3]
    assert outcome.label.tolist() == [0, 1, 2, 0]
    assert outcome.predicted.tolist() == [0, 1, 0, 1]
    torch.testing.assert_close(outcome.probability, torch.tensor([0.8, 0.6, 0.9, 0.8]))
    assert outcome.mistakes().index.tolist() == [2, 3]  # the most confident first
    assert outcome.confusion(3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_tiles_have_the_images_own_labels():
    index = torch.tensor([4, 2])
    outcome = Predictions(index, torch.tensor([1, 2]), torch.tensor([1, 0]), torch.tensor([0.75, 0.5]))
    right, wrong = prediction_tiles(loader(), outcome, ["ant", "bee", "cow"])
    assert (right.image.unique().item(), right.lines, right.colour) == (1, ["bee 75%"], GREEN)
    assert (wrong.image.unique().item(), wrong.lines, wrong.colour) == (2, ["ant 50%", "true: cow"], RED)


def test_spread():
    assert evenly_spaced(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]
    assert evenly_spaced(0, 5).tolist() == []
