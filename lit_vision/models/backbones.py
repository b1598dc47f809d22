"""Networks of other libraries without their last layer, and weights for them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lit_vision.errors import UserError
from lit_vision.models.modules import InputSpec, first_line
from lit_vision.models.unfreeze import LayerStage
from lit_vision.models.weights_file import WeightsFile, read_weights

_WIDTHS: dict[tuple[type, str, int], int] = {}  # found before, by library, network and size


class Backbone(ABC):
    """What a library knows of one of its networks without the last layer.

    Args:
        arch: name of the network, as ``--model.arch`` takes it.

    Raises:
        UserError: there is no such network, or its last layer cannot be replaced.
    """

    def __init__(self, arch: str) -> None:
        self.arch = arch

    @abstractmethod
    def make(self) -> nn.Module:
        """Build the network with random weights, (N, 3, H, W) -> features (N, width)."""

    @abstractmethod
    def stages(self) -> list[LayerStage]:
        """The stages of the network, in the order of the forward pass."""

    @property
    @abstractmethod
    def weight_names(self) -> Sequence[str]:
        """Names of the weights that the library downloads."""

    @abstractmethod
    def download(self, name: str) -> Mapping[str, Tensor]:
        """Get weights that the library keeps, in their cache or from the network.

        Raises:
            UserError: the download failed.
        """

    @abstractmethod
    def input_of(self, weights: str) -> InputSpec:
        """The images that weights were trained on, by the name of the weights or of their file."""

    @abstractmethod
    def split(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Split the weights of a whole network into those of the backbone and those of one Linear layer behind it.

        The second part is empty if the last layer is another.
        """

    @abstractmethod
    def join(self, body: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Join what :meth:`split` splits, under the names of the library's own network.

        Raises:
            UserError: the library's network has another last layer.
        """

    def on_meta(self) -> nn.Module:
        """Build the network in eval mode on the meta device, which takes no memory and little time."""
        try:
            with torch.device("meta"):
                network = self.make()
        except (NotImplementedError, RuntimeError):  # some compute their widths with tensors, such as RegNet and Swin
            network = self.make().to("meta")
        return network.eval()

    def width(self, image_size: int) -> int:
        """Number of features of an image.

        Raises:
            UserError: the network cannot take images of ``image_size`` pixels, or does not give one vector of features.
        """
        if (known := _WIDTHS.get((type(self), self.arch, image_size))) is not None:
            return known
        network = self.on_meta()
        with torch.device("meta"):
            try:
                features = network(torch.empty(1, 3, image_size, image_size))
            except (RuntimeError, AssertionError, ValueError, TypeError) as error:
                own = self.input_of("DEFAULT").image_size
                raise UserError(
                    f"{self.arch} cannot take images of {image_size} pixels ({first_line(error)}): set "
                    f"--data.image_size to {own}"
                ) from error
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise UserError(f"{self.arch} does not give one vector of features: choose another --model.arch")
        _WIDTHS[type(self), self.arch, image_size] = features.shape[1]
        return features.shape[1]

    def read(self, weights: str | Path) -> WeightsFile:
        """Read the weights of a whole network.

        Args:
            weights: a file, or one of :attr:`weight_names`.

        Raises:
            UserError: ``weights`` is neither, the download failed, or the file is broken.
        """
        if weights in self.weight_names:
            return WeightsFile(weights, dict(self.download(str(weights))), {})
        if Path(weights).is_file():
            return read_weights(weights)
        raise UserError(
            f"weights {weights} is neither a file nor known for {self.arch}: set --model.weights to a file, "
            f"{', '.join(self.weight_names)} or null"
        )
