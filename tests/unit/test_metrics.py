import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer

from lit_vision.data.batch import Batch, FeatureBatch
from lit_vision.data.loader import BatchLoader
from lit_vision.metrics import MetricSums, PredictionCollector, Predictions, epoch_means


def loader():
    labels = torch.tensor([0, 1, 2, 0, 1])
    images = labels.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).to(torch.uint8)
    return BatchLoader(images, labels, 2)


def test_batches_in_any_order_become_the_split():
    source = loader()
    collector = PredictionCollector(source, torch.device("cpu"))
    chance = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    for index, kind in (([3, 1], Batch), ([2, 0], FeatureBatch)):  # the last image is not seen
        at = torch.tensor(index)
        collector.add(kind(source.images[at], source.labels[at], at), chance[at].log())
    predictions = collector.predictions(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False))
    assert predictions.index.tolist() == [0, 1, 2, 3]
    assert predictions.label.tolist() == [0, 1, 2, 0]
    assert predictions.predicted.tolist() == [0, 1, 0, 1]
    torch.testing.assert_close(predictions.probability, torch.tensor([0.8, 0.6, 0.9, 0.8]))
    assert predictions.mistakes().index.tolist() == [2, 3]  # the most confident first
    assert predictions.confusion(3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert predictions.first(2).index.tolist() == [0, 1]
    assert predictions.evenly_spaced(2).index.tolist() == [0, 2]


def test_confusion_of_no_predictions():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert Predictions(nothing, nothing, nothing, nothing.float(), nothing.float()).confusion(2).tolist() == [
        [0, 0],
        [0, 0],
    ]


def test_sums_over_batches_give_the_means_over_samples_and_go_on_where_they_were_saved():
    logits, label = torch.randn(11, 3), torch.arange(11) % 3
    parts = list(zip(logits.split(4), label.split(4), strict=True))
    first, second = MetricSums(), MetricSums()
    for part, target in parts[:2]:
        first.add(F.cross_entropy(part, target), part, target)
    second.load(first.sums())
    for part, target in parts[2:]:
        second.add(F.cross_entropy(part, target), part, target)
    assert second.count == 11
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    means = epoch_means(second.over_processes(trainer, torch.device("cpu")), "val")
    torch.testing.assert_close(means["val/loss"], F.cross_entropy(logits, label))
    torch.testing.assert_close(means["val/acc"], (logits.argmax(1) == label).float().mean())
