from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lit_vision.data.batch import Batch

_BATCH_SIZE = 16  # more is no faster on a CPU, see keep_freed_memory; the same everywhere, so that rounding is, too
_PROBE = 2  # images to try a precision on
_TOLERANCE = 0.01  # relative error of features: bfloat16 costs ResNet18 0.003, but MobileNetV2 0.13


@torch.no_grad()  # not inference_mode, whose tensors could not take part in the training of the head
def compute_features(backbone: nn.Module, loader: Any, trainer: Trainer) -> Tensor:
    """What a frozen network makes of every image of a split, in the fastest precision that keeps the result.

    Args:
        backbone: (N, 3, H, W) float32 -> (N, width), in eval mode.
        loader: of the split; its ``sequential`` gives this process' share of the images.
        trainer: moves and normalises batches, and puts the shares of all processes together.

    Returns:
        (images of the split, width) float32 on the CPU, in the order of ``Batch.index``.
    """
    backbone.to(memory_format=torch.channels_last)

    def compute(batch: Batch) -> Tensor:
        image = trainer.strategy.batch_to_device(batch).image
        return backbone(image.to(memory_format=torch.channels_last)).float()

    precision = trainer.precision_plugin.forward_context()
    if trainer.precision == "32-true" and has_fast_bfloat16(trainer.strategy.root_device.type):
        probe = loader.take(torch.arange(min(_PROBE, len(loader.labels))))  # the same in all processes
        exact = compute(probe)
        fast = torch.autocast(trainer.strategy.root_device.type, torch.bfloat16)
        with fast:
            error = (compute(probe) - exact).norm() / exact.norm()
        if error <= _TOLERANCE:
            precision = fast
    features: Tensor | None = None
    with precision:
        for batch in loader.sequential(_BATCH_SIZE):
            found = compute(batch)
            if features is None:
                features = found.new_zeros(len(loader.labels), found.shape[1])
            features[batch.index.to(found.device)] = found
    assert features is not None
    # each image is zero in all processes but one
    return trainer.strategy.reduce(features, reduce_op="sum").cpu()


def has_fast_bfloat16(device: str) -> bool:
    """Whether a type of device, such as cpu or cuda, multiplies bfloat16 in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
