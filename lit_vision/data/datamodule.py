import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_vision.data.batch import Batch
from lit_vision.data.images import LazyImages, Resize, ResizedImages, decode_all
from lit_vision.data.loader import BatchLoader
from lit_vision.data.rng import random_permutation
from lit_vision.data.transforms import Augmentation, KeyedRandom, augment, normalize, random_crop, to_float
from lit_vision.errors import UserError
from lit_vision.utils.log import log_info
from lit_vision.utils.memory import available_memory

_MOST_MEMORY = 4 * 2**30  # bytes
_EVAL_VALUES = 2**21  # float32 values of one evaluation batch, 8 MB: no slower than larger batches, and fits caches


class LabelledImages(NamedTuple):
    """A split, or a part of one.

    Attributes:
        images: (N, 3, H, W) uint8, or what makes them when they are asked for.
        labels: (N,) int64.
    """

    images: Tensor | LazyImages
    labels: Tensor

    def subset(self, index: Tensor) -> "LabelledImages":
        """The images at these places, (n,) int64."""
        part = self.images[index] if isinstance(self.images, Tensor) else self.images.subset(index)
        return LabelledImages(part, self.labels[index])


class ImageDataModule(LightningDataModule, ABC):
    """Labelled images as batches for fit, validate and test.

    A source is a subclass with ``class_names``, ``split_names``, ``native_size`` and ``load``; where its data has to be
    fetched first, also ``prepare_data``. All splits are decoded once and kept in memory as uint8 while they fit.

    Args:
        root: folder of the data; by default $LIT_VISION_DATA, or ./data without it.
        batch_size: training images per step and process.
        val_size: images held out of train for validation, the same ones for the same seed; 0 takes the set's own
            second split instead.
        augment: what happens to training images, in this order, drawn anew for each image and epoch: flip (left and
            right), alternating_flip (left and right, in every other epoch), translate (up to 2 pixels), jitter
            (brightness, contrast, saturation), rotate (up to 10 degrees).
        crop_epochs: how many training epochs at the start see random crops of the images, which takes less time (small
            images first: Howard, "Now anyone can train Imagenet in 18 minutes", 2018). Validation has whole images; the
            network must take both, and a TransferClassifier has no bank of features then.
        crop_size: side in pixels of these crops; without ``crop_epochs`` it does nothing.
        image_size: side in pixels of the square to which images are brought; by default the images' own.
        resize: how: exact stretches the whole image, crop takes the middle square of it as torchvision's weights
            expect (256 pixels, of which the middle 224 are left, and so in proportion).
        mean: per channel, subtracted from values in [0, 1].
        std: per channel, divides what is left.
        seed: of the held-out images, the shuffles and the augmentation; by default that of seed_everything.
        num_workers: threads that decode images; by default one for each processor core.
        memory_budget: GiB of decoded images that a split may take; a larger split is decoded batch by batch. By default
            half of the memory that is left, shared by the processes of this machine, but no more than 4.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        batch_size: int = 32,
        val_size: int = 0,
        augment: Sequence[Augmentation] = (),
        crop_epochs: int = 0,
        crop_size: int | None = None,
        image_size: int | None = None,
        resize: Resize = "stretch",
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        seed: int | None = None,
        num_workers: int | None = None,
        memory_budget: float | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("val_size", val_size, 0),
            ("crop_epochs", crop_epochs, 0),
            ("crop_size", 1 if crop_size is None else crop_size, 1),
            ("std", min(std), 1e-6),
            ("num_workers", num_workers or 1, 1),
        ):
            if value < least:
                raise UserError(f"{name} {value} is too small: give at least {least} with --data.{name}")
        if image_size is not None and image_size < 1:
            raise UserError(f"image_size {image_size} is no size: give at least 1 with --data.image_size")
        if crop_epochs and crop_size is None:
            raise UserError("crop_epochs needs the size of its crops: give --data.crop_size")
        self.root = Path(root or os.environ.get("LIT_VISION_DATA") or "data").expanduser()
        self.batch_size = batch_size
        self.val_size = val_size
        self.augment = tuple(augment)
        self.crop_epochs = crop_epochs
        self.crop_size = crop_size
        self.resize = resize if image_size is not None else "stretch"  # without a size images stay as they are
        self.mean = mean
        self.std = std
        self.num_workers = num_workers or os.cpu_count() or 1
        self.memory_budget = memory_budget
        self._image_size = image_size
        self._seed = seed
        self._splits: dict[str, LabelledImages] = {}
        self._scale: tuple[Tensor, Tensor] = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    # What a source provides

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """One name for each label, known without a download."""

    @property
    @abstractmethod
    def split_names(self) -> list[str]:
        """The set's own splits, train first."""

    @property
    @abstractmethod
    def native_size(self) -> int:
        """Side in pixels of the images as they are, which must be square."""

    @abstractmethod
    def load(self, split: str) -> LabelledImages:
        """One of ``split_names``."""

    # What the Trainer and the command line use

    @property
    def image_size(self) -> int:
        """Side in pixels of every image that comes out."""
        return self._image_size or self.native_size

    @property
    def seed(self) -> int:
        """The seed given, or that of ``seed_everything``."""
        return int(os.environ.get("PL_GLOBAL_SEED", 0)) if self._seed is None else self._seed

    def setup(self, stage: str) -> None:
        """Read what the stage needs: train and val for fit, val for validate, test for test."""
        if self.crop_epochs and (self.crop_size or 0) > self.image_size:
            raise UserError(f"crop_size {self.crop_size} is more than {self.image_size}: lower --data.crop_size")
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ())
        missing = [split for split in wanted if split not in self._splits]
        if "test" in missing:
            if len(self.split_names) == 1:
                raise UserError(f"{self.root} has no test images: use validate, or add a folder test/")
            self._splits["test"] = self._prepare(self.load(self.split_names[-1]), "test")
        elif missing:
            self._splits |= {split: self._prepare(part, split) for split, part in self._train_and_val(missing).items()}

    def _train_and_val(self, wanted: Sequence[str]) -> dict[str, LabelledImages]:
        if self.val_size:
            source = self.load("train")
            size = len(source.labels)
            if self.val_size >= size:
                raise UserError(f"val_size {self.val_size} leaves nothing of {size} images: lower --data.val_size")
            order = random_permutation(size, self.seed, "val")
            parts = {"val": order[: self.val_size], "train": order[self.val_size :]}
            return {split: source.subset(parts[split].sort().values) for split in wanted}
        if len(self.split_names) == 1:
            raise UserError(f"{self.root} has no images for validation: hold some out with --data.val_size")
        second = self.split_names[1]
        validated = self.trainer is None or self.trainer.limit_val_batches != 0
        if "train" in wanted and second == self.split_names[-1] and validated:
            log_info(
                f"val_size is 0: validation uses the split {second!r}, which test uses too. The best checkpoint is "
                "chosen on it, so its accuracy is no independent test."
            )
        return {split: self.load(second if split == "val" else "train") for split in wanted}

    def _prepare(self, source: LabelledImages, split: str) -> LabelledImages:
        """The split at its final size, in memory if it fits."""
        images, labels = source
        if isinstance(images, Tensor):
            if images.shape[-1] == self.image_size and self.resize == "stretch":
                return source
            images = ResizedImages(images, self.image_size, self.resize)
        budget = self._budget()
        if len(images) * 3 * self.image_size**2 > budget:
            amount = f"{len(images)} images exceed the memory budget of {budget / 2**30:.3g} GiB"
            log_info(f"{split}: {amount} (--data.memory_budget), decoded batch by batch")
            return LabelledImages(images, labels)
        return LabelledImages(decode_all(images, self.num_workers, progress=f"decoding {split}"), labels)

    def _budget(self) -> float:
        """Bytes."""
        if self.memory_budget is not None:
            return self.memory_budget * 2**30
        left = available_memory()
        processes = self.trainer.num_devices if self.trainer else 1  # of this machine, each of which has the images
        return _MOST_MEMORY if left is None else min(_MOST_MEMORY, left / 2 / processes)

    def _loader(self, split: str, batch_size: int, seed: int | None = None) -> BatchLoader:
        images, labels = self._splits[split]
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if not _fits(images, device):
            device = torch.device("cpu")
        return BatchLoader(images, labels, batch_size, seed, rank, world_size, self.num_workers, device)

    def train_dataloader(self) -> BatchLoader:
        """Batches in an order of each epoch's own."""
        # which trains on the same few batches in every epoch
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        return self._loader("train", self.batch_size, None if overfit else self.seed)

    def val_dataloader(self) -> BatchLoader:
        """Batches in a fixed order, as large as evaluation is fast with."""
        return self._loader("val", self._eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        """As :meth:`val_dataloader`."""
        return self._loader("test", self._eval_batch_size)

    @property
    def _eval_batch_size(self) -> int:
        return max(self.batch_size, _EVAL_VALUES // (3 * self.image_size**2))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Without Lightning's walk through arbitrary collections, which shows in small steps."""
        if not isinstance(batch, Batch):  # the example input for the table of layers
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Uint8 to normalised float32, augmented and perhaps cropped while training."""
        if not isinstance(batch, Batch) or batch.image.dtype != torch.uint8:  # what a bank of features keeps is ready
            return batch
        training = self.trainer is not None and self.trainer.training
        return self.preprocess(batch, self.trainer.current_epoch if training else None)  # type: ignore[union-attr]

    def preprocess(self, batch: Batch, epoch: int | None = None) -> Batch:
        """The batch with normalised images, (N, 3, H, W) float32, on the same device.

        Args:
            batch: images (N, 3, H, W) uint8.
            epoch: of training, counted from 0, whose augmentation and crops are applied; None for neither.
        """
        image = to_float(batch.image)
        if epoch is not None:
            image = augment(image, self.augment, batch.index, self.seed, epoch)
            if epoch < self.crop_epochs and self.crop_size is not None:
                image = random_crop(image, KeyedRandom(batch.index, self.seed, epoch), self.crop_size)
        if self._scale[0].device != image.device:
            self._scale = self._scale[0].to(image.device), self._scale[1].to(image.device)
        # convolutions are faster with channels last, all before them is not
        image = normalize(image, *self._scale).contiguous(memory_format=torch.channels_last)
        return Batch(image, batch.label, batch.index)


def _fits(images: Tensor | LazyImages, device: torch.device) -> bool:
    """Whether images in memory leave most of a GPU's memory to the training."""
    if device.type != "cuda" or not isinstance(images, Tensor):
        return False
    return images.nbytes < torch.cuda.mem_get_info(device)[0] / 4
