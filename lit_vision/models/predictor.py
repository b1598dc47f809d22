import copy

import torch
from torch import Tensor, nn

from lit_vision.models.classifier import Classifier


class Predictor(nn.Module):
    """A trained network for use, in eval mode and frozen: what it was trained to expect stands inside.

    Args:
        model: the network, which is copied.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(model.hparams[name])[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, classes) of RGB images (N, 3, image_size, image_size), float32 in [0, 1]."""
        return self.model.forward_tta((image - self.mean) / self.std).softmax(1)
