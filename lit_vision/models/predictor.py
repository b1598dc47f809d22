"""Predict the classes of image files with a trained network."""

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_vision.data.batch import FeatureBatch
from lit_vision.data.decode_ahead import decode_ahead
from lit_vision.data.decoding import read_image
from lit_vision.data.images import ImageFiles
from lit_vision.data.transforms import to_float
from lit_vision.errors import UserError
from lit_vision.models.classifier import Classifier
from lit_vision.models.folding import fold_for_inference
from lit_vision.models.known_features import find_features
from lit_vision.models.modules import first_line
from lit_vision.models.transfer import TransferClassifier
from lit_vision.models.tta import check_tta
from lit_vision.models.weights_file import last_linear

_BATCH_VALUES = 2**21  # float32 values of a batch, 8 MB, as in evaluation


class Predictor(nn.Module):
    """A trained network that is ready for use: in eval mode, frozen, normalised as in training, and calibrated.

    Args:
        model: the network, which is copied.
        tta: as for :class:`Classifier`; by default, the model's own setting.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Classifier, tta: bool | float | None = None) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        if tta is not None:
            check_tta(tta)
            self.model.tta = tta
        self.temperature = self.model.calibration.temperature if self.model.calibration else 1.0
        self.register_buffer("mean", torch.tensor(model.input_spec.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(model.input_spec.std)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, classes) of RGB images (N, 3, image_size, image_size), float32 in [0, 1]."""
        return self.probabilities(self.model.forward_tta((image - self.mean) / self.std))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (N, classes) of logits (N, classes)."""
        return (logits / self.temperature).softmax(1)


class Prediction(NamedTuple):
    """Prediction for an image file.

    Attributes:
        path: path of the file.
        image: (3, image_size, image_size) uint8, as the network takes it; None if the file cannot be read.
        probabilities: probability of each class, in [0, 1]; empty if the file cannot be read.
        error: the reason why the file cannot be read; empty if it can.
        distance: how far the image is from those that the network has seen, see
            :meth:`lit_vision.models.calibration.Calibration.distances`; None if that is not asked for, or not known.
    """

    path: Path
    image: Tensor | None
    probabilities: list[float]
    error: str = ""
    distance: float | None = None


@torch.inference_mode()
def predictions(
    model: Classifier,
    paths: Sequence[Path],
    device: str | None = None,
    tta: bool | float | None = None,
    distances: bool = False,
) -> Iterator[Prediction]:
    """Predict the classes of image files, in the order of the files, with a few batches in memory at a time.

    Features of a frozen backbone that are in the disk cache are not computed again.

    Args:
        model: the network, which knows how its images are prepared.
        paths: paths of the files.
        device: device to compute on, such as cpu or cuda:1; by default, the accelerator if there is one, otherwise cpu.
        tta: see :class:`Predictor`.
        distances: find out how far each image is from those that the network has seen.

    Raises:
        UserError: the device does not exist, or cannot compute.
    """
    predictor = Predictor(model, tta).to(_find_device(device))
    side, _, _, resize, decoding = model.input_spec
    files = ImageFiles(paths, side, resize, decoding)
    known: dict[int, Tensor] = {}
    network = predictor.model
    if isinstance(network, TransferClassifier):
        if not network.tta:
            known = find_features(network.backbone, files, network.input_spec, network.device)
        network.backbone = fold_for_inference(network.backbone)
    predictor.to(memory_format=torch.channels_last)
    measure = _Distances(network) if distances else None

    def read(number: int) -> tuple[Prediction, Tensor | None]:
        path = paths[number]
        try:
            return Prediction(path, read_image(path, side, resize, decoding), []), known.get(number)
        except UserError as error:
            return Prediction(path, None, [], str(error)), None

    size = max(1, _BATCH_VALUES // (3 * side**2))
    workers = os.cpu_count() or 1
    with closing(decode_ahead(read, range(len(paths)), workers, ahead=2 * size + workers, overlap=True)) as decoded:
        while batch := list(islice(decoded, size)):
            yield from _predict(predictor, batch, measure)


class _Distances:
    """Notes the inputs of a network's last layer, and measures how far they are from those that it has seen."""

    def __init__(self, network: Classifier) -> None:
        self._calibration = network.calibration
        self._inputs: list[Tensor] = []
        if (name := last_linear(network)) is not None:
            network.get_submodule(name).register_forward_pre_hook(lambda _, inputs: self._inputs.append(inputs[0]))

    def take(self, count: int) -> list[float | None]:
        """The distances of the batch of ``count`` images that was just predicted."""
        inputs, self._inputs = self._inputs[:1], []  # with several views, the first is the image itself
        known = self._calibration.features if self._calibration else torch.zeros(0, 0)
        if not inputs or self._calibration is None or not len(known) or inputs[0].shape[1:] != known.shape[1:]:
            return [None] * count
        return [*self._calibration.distances(inputs[0]).tolist()]


def _predict(
    predictor: Predictor, batch: Sequence[tuple[Prediction, Tensor | None]], measure: _Distances | None
) -> Iterator[Prediction]:
    """Fill in the probabilities of the images that were read, from features where there are some."""
    device = predictor.mean.device
    images = [found.image for found, features in batch if found.image is not None and features is None]
    known = [features for found, features in batch if found.image is not None and features is not None]
    of_images: Iterator[tuple[list[float], float | None]] = iter(())
    of_features: Iterator[tuple[list[float], float | None]] = iter(())

    def with_distances(probabilities: Tensor) -> Iterator[tuple[list[float], float | None]]:
        rows = probabilities.tolist()
        return zip(rows, measure.take(len(rows)) if measure else [None] * len(rows), strict=True)

    if images:
        image = to_float(torch.stack(images).to(device)).to(memory_format=torch.channels_last)
        of_images = with_distances(predictor(image))
    if known:
        features = torch.stack(known).to(device)
        label = index = torch.zeros(len(known), dtype=torch.int64, device=device)
        logits = predictor.model.logits(FeatureBatch(features, label, index), "test")
        of_features = with_distances(predictor.probabilities(logits))
    for found, row in batch:
        if found.image is None:
            yield found
        else:
            probabilities, distance = next(of_images if row is None else of_features)
            yield found._replace(probabilities=probabilities, distance=distance)


def _find_device(name: str | None) -> torch.device:
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.zeros(1, device=name).cpu()  # some devices exist but cannot compute, such as meta
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error)
        raise UserError(f"there is no device {name} ({reason}): use another --device, such as cpu") from error
    return torch.device(name)
