from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

_BATCH_SIZE = 16  # more is no faster on a CPU, see keep_freed_memory; the same everywhere, so that rounding is, too


@torch.no_grad()  # not inference_mode, whose tensors could not take part in the training of the head
def compute_features(backbone: nn.Module, loader: Any, trainer: Trainer) -> Tensor:
    """What a frozen network makes of every image of a split, in the fastest precision that keeps the result.

    Args:
        backbone: (N, 3, H, W) float32 -> (N, width), in eval mode.
        loader: of the split; its ``in_order`` gives this process' share of the images.
        trainer: moves and normalises batches, and puts the shares of all processes together.

    Returns:
        (images of the split, width) float32 on the CPU, in the order of ``Batch.index``.
    """
    backbone.to(memory_format=torch.channels_last)
    features: Tensor | None = None
    with _fast_precision(trainer):
        for batch in loader.in_order(_BATCH_SIZE):
            on_device = trainer.strategy.batch_to_device(batch)
            found = backbone(on_device.image.to(memory_format=torch.channels_last)).float()
            if features is None:
                features = found.new_zeros(len(loader.labels), found.shape[1])
            features[on_device.index] = found
    assert features is not None
    # each image is zero in all processes but one
    return trainer.strategy.reduce(features, reduce_op="sum").cpu()


def _fast_precision(trainer: Trainer) -> Any:
    """The Trainer's own precision if one was chosen, else bfloat16 where the hardware multiplies in it."""
    if trainer.precision != "32-true":
        return trainer.precision_plugin.forward_context()
    device = trainer.strategy.root_device.type
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return torch.autocast(device, torch.bfloat16, enabled=fast)
