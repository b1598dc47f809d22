from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from typing_extensions import override

from lit_vision.errors import UserError, check_at_least
from lit_vision.models.classifier import Classifier
from lit_vision.models.modules import init_linear

Activation = Literal["ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid"]


class SmallCNN(Classifier):
    """A network of two convolutions and three linear layers, with 66,722 parameters by default.

    conv1 - activation - max pool 2 - conv2 - activation - max pool 2 - flatten - layer1 - activation - layer2 -
    activation - layer_out. A side of I pixels leaves a convolution as O = I - kernel_size + 1, and a pooling as
    O = I // 2. Linear layers start with Xavier uniform weights and zero biases, convolutions as PyTorch initialises
    them.

    Args:
        channels: Output channels of the two convolutions.
        kernel_size: Side of the kernels of both convolutions, in pixels.
        hidden: Widths of the two hidden linear layers.
        activation: Activation function, as the name of a torch.nn module.
        weights: File to start from, with a state_dict or a checkpoint.
        kwargs: options of :class:`Classifier`.

    Raises:
        UserError: a size is below 1, or image_size is so small that no pixel is left after the poolings.
    """

    def __init__(
        self,
        channels: tuple[int, int] = (6, 16),
        kernel_size: int = 5,
        hidden: tuple[int, int] = (120, 120),
        activation: Activation = "ReLU",
        weights: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_at_least(1, "model", channels=min(channels), hidden=min(hidden), kernel_size=kernel_size)
        image_size = self.input_spec.image_size
        side = _side_after_block(_side_after_block(image_size, kernel_size), kernel_size)
        if side < 1:
            raise UserError(
                f"image_size {image_size} leaves no pixel after two convolutions with kernel_size {kernel_size} and "
                f"two poolings: set --data.image_size to {3 * kernel_size + 1} or more, or lower "
                "--model.kernel_size"
            )
        act = getattr(nn, activation)
        self.conv1 = nn.Conv2d(3, channels[0], kernel_size)
        self.act1 = act()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel_size)
        self.act2 = act()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.layer1 = nn.Linear(channels[1] * side**2, hidden[0])
        self.act3 = act()
        self.layer2 = nn.Linear(*hidden)
        self.act4 = act()
        self.layer_out = nn.Linear(hidden[1], len(self.class_names))
        self.apply(init_linear)
        if weights is not None:
            self.load_weights(weights)

    @override
    def forward(self, image: Tensor) -> Tensor:
        x = self.pool1(self.act1(self.conv1(image)))
        x = self.pool2(self.act2(self.conv2(x)))
        x = self.act3(self.layer1(self.flatten(x)))
        x = self.act4(self.layer2(x))
        return self.layer_out(x)


def _side_after_block(side: int, kernel_size: int) -> int:
    return (side - kernel_size + 1) // 2
