"""A frozen backbone's features of a split, computed once and served in place of its images."""

from functools import cached_property
from hashlib import blake2b
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lit_vision.data.batch import Batch
from lit_vision.data.datamodule import image_data
from lit_vision.data.disk_cache import DiskCache, Kind
from lit_vision.data.images import LazyImages
from lit_vision.data.loader import BatchLoader
from lit_vision.models.folding import fold_for_inference
from lit_vision.models.known_features import made_with
from lit_vision.models.modules import InputSpec
from lit_vision.utils.bars import progress_bar
from lit_vision.utils.log import log_info
from lit_vision.utils.precision import has_fast_bfloat16

_BATCH_SIZE = 16  # larger is no faster on a CPU, see keep_freed_memory; the same on all devices, for the same rounding
_PROBE_IMAGES = 2
_MOST_ERROR = 0.01  # relative error of the features: bfloat16 costs ResNet18 0.003, but MobileNetV2 0.13


def serve_features(loader: object, backbone: nn.Module, trainer: Trainer, tta: bool, plain: bool) -> None:
    """Make a loader serve features if each image has the same ones in every epoch, otherwise images.

    Call this before an epoch, in all processes. The features of an image are computed once, by this run or an earlier
    one, and only for the images that the epoch uses.

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
        return
    known, needed = loader.features, _needed(loader, trainer)
    if known is not None:
        needed = needed[known[needed, 0].isnan()]
    if len(needed):
        found = compute_features(backbone, loader, trainer, needed, plain)
        if len(needed) == len(loader.labels):
            loader.serve(found)
            return
        # the others are NaN, so that no error in this bookkeeping would go unnoticed
        features = found.new_full((len(loader.labels), found.shape[1]), torch.nan) if known is None else known.clone()
        features[needed] = found
        loader.serve(features)


def _needed(loader: BatchLoader, trainer: Trainer) -> Tensor:
    """The positions of the images that the epoch uses, in ascending order, (n,) int64."""
    if trainer.training:
        loader.sampler.set_epoch(trainer.current_epoch)  # not yet done if a run goes on in the middle of an epoch
        limit: float = trainer.num_training_batches
    else:
        limits = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        if trainer.sanity_checking:
            limits = trainer.num_sanity_val_batches
        limit = sum(limits)
    if limit >= len(loader):
        return torch.arange(len(loader.labels))
    return loader.sampler.tensor()[: int(limit) * loader.global_batch_size].unique()


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


def compute_features(
    backbone: nn.Module, loader: BatchLoader, trainer: Trainer, wanted: Tensor, plain: bool = False
) -> Tensor:
    """Find features of images on disk, or compute them, in bfloat16 if that changes the first ones by at most 1%.

    Args:
        backbone: a network in eval mode, (N, 3, H, W) float32 -> (N, width).
        loader: loader of the split; each process computes its share.
        trainer: the run's Trainer, which moves and normalises batches, and adds up the shares of all processes.
        wanted: positions of the images in the split, (n,) int64.
        plain: see :func:`serve_features`.

    Returns:
        (n, width) float32 on the CPU.
    """
    return _Computation(backbone, loader, trainer, plain).features(wanted)


class _Computation:
    def __init__(self, backbone: nn.Module, loader: BatchLoader, trainer: Trainer, plain: bool) -> None:
        self.loader, self.trainer, self.plain = loader, trainer, plain
        self.data, self.device = image_data(trainer), trainer.strategy.root_device
        self.cache = self.data.disk_cache if self.data else DiskCache(None)
        self.ids: list[bytes] = []
        self.made_with: dict[str, Any] = {}
        if self.data and self.cache.folder:
            self.ids = loader.ids()
            decoding = loader.images.decoding if isinstance(loader.images, LazyImages) else {}
            spec = InputSpec(self.data.image_size, self.data.mean, self.data.std, self.data.resize)
            self.made_with = made_with(backbone, decoding, spec, self.device)
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.dtype = next((parameter.dtype for parameter in backbone.parameters()), torch.float32)

    @cached_property
    def network(self) -> nn.Module:
        """A faster copy of the backbone, made if there is something to compute."""
        return fold_for_inference(self.backbone)

    def features(self, wanted: Tensor) -> Tensor:
        precision = self._precision()
        kind = Kind("features", {**self.made_with, "precision": precision})
        ids = [self.ids[position] for position in wanted.tolist()] if self.ids else []
        found, missing = self.cache.find(kind, ids)
        is_known = torch.ones(len(wanted), dtype=torch.int64)
        is_known[missing if ids else slice(None)] = 0
        # an image is computed unless all processes have found it, for they compute together
        is_known = self._sum(is_known) == self.trainer.world_size
        if is_known.all():
            return found.whole()
        positions = (~is_known).nonzero().flatten()
        new = self._compute(wanted[positions], precision)
        if ids and self.trainer.local_rank == 0:
            with self.cache.alone(kind):
                self.cache.add(kind, [ids[i] for i in positions.tolist()], new, new[0], str(self._place))
        if len(positions) == len(wanted):
            return new
        features = new.new_empty(len(wanted), new.shape[1])
        features[positions] = new
        place = {position: number for number, position in enumerate(sorted({*range(len(wanted))} - {*missing}))}
        known = is_known.nonzero().flatten()
        features[known] = found.index_select(0, torch.tensor([place[position] for position in known.tolist()]))
        return features

    @property
    def _place(self) -> object:
        return self.data.root if self.data else ""

    def _precision(self) -> str:
        """The precision to compute in: that of the Trainer, or bfloat16 where it is fast and good enough."""
        trainer, loader = self.trainer, self.loader
        if trainer.precision != "32-true" or not has_fast_bfloat16(self.device):
            return str(trainer.precision)
        first = torch.arange(min(_PROBE_IMAGES, len(loader.labels)))  # the same in all processes
        kind = Kind("errors", self.made_with)
        probe = [blake2b(b"".join(self.ids[: len(first)]), digest_size=16).digest()] if self.ids else []
        found, missing = self.cache.find(kind, probe)
        known = self._sum(torch.tensor([int(bool(probe) and not missing)])) == trainer.world_size
        if known.all():
            error = found.whole()
        else:
            exact, rounded = (self._of_batch(loader.take(first), precision) for precision in ("32-true", "bf16-mixed"))
            error = ((rounded - exact).norm() / exact.norm()).cpu()[None]
            if trainer.local_rank == 0:
                with self.cache.alone(kind):
                    self.cache.add(kind, probe, error, error[0], str(self._place))
        return "bf16-mixed" if float(error) <= _MOST_ERROR else "32-true"

    @torch.no_grad()  # not inference_mode, whose tensors cannot be used to train the head
    def _of_batch(self, batch: Batch, precision: str) -> Tensor:
        plugin = self.trainer.precision_plugin
        if precision == self.trainer.precision:
            context: Any = plugin.forward_context()
        else:
            context = torch.autocast(self.device.type, torch.bfloat16)
        with context:
            if self.data and self.plain:
                prepared = self.data.preprocess(batch.to(self.device))
            else:
                prepared = self.trainer.strategy.batch_to_device(batch)
            # the Trainer converts what it gives to a step, but this is no step
            image = prepared.image.to(self.dtype, memory_format=torch.channels_last)
            return self.network(image).float()

    def _compute(self, wanted: Tensor, precision: str) -> Tensor:
        """Compute features, (n, width) float32: each process its share."""
        features: Tensor | None = None
        place = {position: number for number, position in enumerate(wanted.tolist())}
        with progress_bar("computing features", len(wanted), hidden=not self.trainer.is_global_zero) as bar:
            for batch in self.loader.sequential(_BATCH_SIZE, wanted):
                assert isinstance(batch, Batch)
                part = self._of_batch(batch, precision)
                if features is None:
                    features = part.new_zeros(len(wanted), part.shape[1])
                features[[place[position] for position in batch.index.tolist()]] = part
                bar.update(len(part) * self.trainer.world_size)
        assert features is not None
        # the features of each image are zero in all processes but one
        return self._sum(features)

    def _sum(self, values: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(values.to(self.device), reduce_op="sum").cpu()
