"""A frozen backbone's features of a split, computed once a run and served in place of its images."""

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lit_vision.data.batch import Batch
from lit_vision.data.datamodule import image_data
from lit_vision.data.loader import BatchLoader
from lit_vision.utils.log import log_info
from lit_vision.utils.precision import has_fast_bfloat16

_BATCH_SIZE = 16  # larger is no faster on a CPU, see keep_freed_memory; the same on all devices, for the same rounding
_PROBE_IMAGES = 2
_MOST_ERROR = 0.01  # relative error of the features: bfloat16 costs ResNet18 0.003, but MobileNetV2 0.13


def serve_features(loader: object, backbone: nn.Module, trainer: Trainer, tta: bool, plain: bool) -> None:
    """Make a loader serve features if each image has the same ones in every epoch, otherwise images.

    Call this before an epoch, in all processes. The features are computed once for each loader.

    Args:
        loader: loader of the split; one that is not a BatchLoader is left as it is.
        backbone: a network in eval mode, (N, 3, H, W) float32 -> (N, width).
        trainer: the run's Trainer, whose data module knows whether images vary.
        tta: True if the stage averages over several views of each image.
        plain: True to leave out what changes the images, such as augmentation.
    """
    if not isinstance(loader, BatchLoader):
        return
    reason = _why_not_valid(backbone, trainer, tta, plain)
    if reason is not None:
        loader.serve(None)
        if trainer.training and trainer.current_epoch == 0:
            log_info(f"features are computed in every epoch: {reason}")
    elif loader.features is None:
        loader.serve(compute_features(backbone, loader, trainer, plain))


def _why_not_valid(backbone: nn.Module, trainer: Trainer, tta: bool, plain: bool) -> str | None:
    """Say why the features of an image may differ between epochs; None if they do not."""
    data = image_data(trainer)
    if data is None:
        return "the data is not an ImageDataModule, and may change the images"
    if (reason := data.varying_images()) and not plain:
        return reason
    if tta:
        return "test-time augmentation changes the images"
    if any(parameter.requires_grad for parameter in backbone.parameters()):
        return "the backbone is not frozen"
    return None


@torch.no_grad()  # not inference_mode, whose tensors cannot be used to train the head
def compute_features(backbone: nn.Module, loader: BatchLoader, trainer: Trainer, plain: bool = False) -> Tensor:
    """Compute the backbone's features of a split, in bfloat16 if that changes the first ones by at most 1%.

    Args:
        backbone: a network in eval mode, (N, 3, H, W) float32 -> (N, width).
        loader: loader of the split, of which each process computes its share.
        trainer: the run's Trainer, which moves and normalises batches, and adds up the shares of all processes.
        plain: see :func:`serve_features`.

    Returns:
        (images of the split, width) float32 on the CPU, in the order of ``Batch.index``.
    """
    backbone.to(memory_format=torch.channels_last)
    data, device = image_data(trainer), trainer.strategy.root_device

    def compute(batch: Batch) -> Tensor:
        prepared = data.preprocess(batch.to(device)) if data and plain else trainer.strategy.batch_to_device(batch)
        return backbone(prepared.image.to(memory_format=torch.channels_last)).float()

    precision = trainer.precision_plugin.forward_context()
    if trainer.precision == "32-true" and has_fast_bfloat16(device):
        probe = loader.take(torch.arange(min(_PROBE_IMAGES, len(loader.labels))))  # the same in all processes
        exact = compute(probe)
        bfloat16 = torch.autocast(device.type, torch.bfloat16)
        with bfloat16:
            error = (compute(probe) - exact).norm() / exact.norm()
        if error <= _MOST_ERROR:
            precision = bfloat16
    features: Tensor | None = None
    with precision:
        for batch in loader.sequential(_BATCH_SIZE):
            assert isinstance(batch, Batch)
            part = compute(batch)
            if features is None:
                features = part.new_zeros(len(loader.labels), part.shape[1])
            features[batch.index.to(part.device)] = part
    assert features is not None
    # the features of each image are zero in all processes but one
    return trainer.strategy.reduce(features, reduce_op="sum").cpu()
