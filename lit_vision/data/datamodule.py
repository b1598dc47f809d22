import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from typing_extensions import override

from lit_vision.data.augment import Augmentation
from lit_vision.data.batch import AnyBatch, Batch, DrawnBatch, FeatureBatch, LabelledImages, MixedBatch
from lit_vision.data.crop_epochs import CropEpochs
from lit_vision.data.decoding import Decoding, Resize, resize_for
from lit_vision.data.disk_cache import DiskCache, cache_folder
from lit_vision.data.exclude import Exclude
from lit_vision.data.fingerprint import TrainingFingerprints
from lit_vision.data.image_names import image_names
from lit_vision.data.kept_images import Keeping, KeptImages
from lit_vision.data.loader import BatchLoader, evaluation_batch_size
from lit_vision.data.preprocessing import Preprocessing, checked_resize
from lit_vision.data.splits import HoldOut, ImageSource, check_labels, describe, keep, load_splits, origin_of
from lit_vision.data.transforms import per_channel
from lit_vision.errors import UserError, check_at_least
from lit_vision.utils.lightning_compat import global_seed
from lit_vision.utils.log import log_info
from lit_vision.utils.memory import fits_on_gpu


class ImageDataModule(CropEpochs, ImageSource):
    """Labelled images as batches for fit, validate and test.

    A subclass provides the images: the members of :class:`ImageSource`, and ``prepare_data`` if they must be downloaded
    first. A split is decoded once, and kept as uint8 in the cache on disk or in memory.

    Args:
        root: Folder of the data; by default $LIT_VISION_DATA, or ./data if that is not set.
        batch_size: Number of training images per step and process.
        global_batch_size: Number of training images per step of all processes together, in place of batch_size. A run
            then resumes with any number of processes.
        val_size: Number of training images held out for validation, or their fraction if below 1, in proportion to the
            classes; 0 validates on the data set's own second split. A checkpoint remembers which images these are.
        val_fold: Hold out one of several folds in place of val_size, such as 2/5, the second of five.
        val_seed: Seed of the choice of held-out images, which does not depend on seed_everything.
        exclude: CSV file with the images that are left out, such as one that ``lit-vision check`` wrote.
        augment: Augmentations of the training images, drawn anew for each image and epoch: flip, alternating_flip,
            translate, jitter, rotate, random_resized_crop, trivial_augment, random_erasing, mixup, cutmix. They are
            applied in the given order, but mixup and cutmix at last, of which each image draws one if both are given.
            Options are given as in '[flip, {rotate: {degrees: 20}}]'.
        balance: Draw all classes equally often. An epoch has as many images as without, some of them more than once.
        crop_epochs: Number of initial epochs trained on random crops, which is faster (Howard, "Now anyone can train
            Imagenet in 18 minutes", 2018), but caches no features. Both sizes must suit the network.
        crop_size: Side in pixels of the random crops; unused if crop_epochs is 0.
        crop_from: Side in pixels to which images are resized before they are cropped; by default they are not resized.
        image_size: Side in pixels of the square that images are resized to; by default the images keep their size.
        resize: How images are resized: stretch (the default), center_crop or a number of pixels. stretch resizes the
            whole image to the square. center_crop resizes the shorter side to 8/7 of image_size (256 for 224) and keeps
            the middle square; a number resizes the shorter side to so many pixels instead.
        mean: Mean of each channel, or of all, which is subtracted from values in [0, 1]; by default 0.5.
        std: Standard deviation of each channel, or of all, by which values are divided once the mean is subtracted; by
            default 0.5.
        decoding: How JPEG files of at least four times the wanted size are decoded: at half of their scale or less
            (reduced), or at full scale, which takes longer. By default as for the checkpoint, otherwise reduced.
        input: With pretrained, image_size, resize, mean and std are by default those of the network's weights; networks
            of timm need no such option. For the command line; in Python, use ``lit_vision.models.pretrained_input``.
        seed: Seed of the shuffling and the augmentation; by default that of seed_everything.
        num_workers: Number of threads that decode images, by default one for each core; 0 decodes in the main thread.
        memory_budget: Memory for decoded images of a split that are not in the cache, in GiB; by default half of what
            is free, divided by the number of processes, but at most 4. A larger split is decoded batch by batch.
        cache: Folder for decoded images and features, which later runs find there; none keeps nothing. By default
            $LIT_VISION_CACHE, or the user's cache folder if that is not set.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        batch_size: int = 32,
        global_batch_size: int | None = None,
        val_size: int | float = 0,
        val_fold: str | None = None,
        val_seed: int = 0,
        exclude: str | Path | None = None,
        augment: Augmentation | Sequence[Augmentation] = (),
        balance: bool = False,
        crop_epochs: int = 0,
        crop_size: int | None = None,
        crop_from: int | None = None,
        image_size: int | None = None,
        resize: Resize | None = None,
        mean: float | tuple[float, float, float] | None = None,
        std: float | tuple[float, float, float] | None = None,
        decoding: Decoding | None = None,
        input: Literal["pretrained"] | None = None,
        seed: int | None = None,
        num_workers: int | None = None,
        memory_budget: float | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        sizes = {"crop_size": crop_size, "crop_from": crop_from, "image_size": image_size}
        check_at_least(1, "data", batch_size=batch_size, global_batch_size=global_batch_size, **sizes)
        check_at_least(0, "data", num_workers=num_workers, crop_epochs=crop_epochs, memory_budget=memory_budget)
        if input is not None:  # the command line has put values in its place
            raise UserError("input is for the command line: in Python, pass **pretrained_input(arch)._asdict()")
        self.mean, self.std = per_channel(mean), per_channel(std)
        check_at_least(1e-6, "data", std=min(self.std))
        self.decoding: Decoding = decoding or "reduced"
        self.resize = checked_resize(resize, image_size)
        self.root = Path(root or os.environ.get("LIT_VISION_DATA") or "data").expanduser()
        self.batch_size, self.global_batch_size = batch_size, global_batch_size
        self.hold_out, self.exclude = HoldOut(val_size, val_seed, val_fold), Exclude(exclude)
        self.augment = (augment,) if isinstance(augment, str | dict) else tuple(augment)
        self._preprocessing = Preprocessing(self.augment, self.mean, self.std)
        self.balance, self.memory_budget = balance, memory_budget
        self.set_crops(crop_epochs, crop_size, crop_from)
        self.num_workers = (os.cpu_count() or 1) if num_workers is None else num_workers
        self.disk_cache = DiskCache(cache_folder(cache))
        self._image_size, self.given_seed = image_size, seed
        self._splits: dict[str, LabelledImages] = {}
        self._keeping: Keeping | None = None
        self.fingerprints = TrainingFingerprints()

    # Questions from other modules

    @property
    def image_size(self) -> int:
        """Side in pixels of all images in batches, except for crops."""
        return self._image_size or self.native_size

    @property
    def resizes(self) -> bool:
        """Whether images of any size are resized; otherwise all must have the same size."""
        return self._image_size is not None

    @property
    def seed(self) -> int:
        """The seed given, or that of ``seed_everything``."""
        return global_seed() if self.given_seed is None else self.given_seed

    def varying_images(self) -> str | None:
        """Say why a training image differs between epochs; None if it does not."""
        if self._preprocessing.varies:
            return "augmentation changes the images"
        return "the first epochs see smaller images" if self.crop_epochs else None

    def names(self, split: str) -> list[str]:
        """A name for each image of a split that is loaded, see :func:`lit_vision.data.image_names.image_names`."""
        return image_names(self._splits[split], self.root, origin_of(self, split, self.hold_out))

    # Hooks of Lightning

    @override
    def setup(self, stage: str) -> None:
        """Load the splits of the stage: train and val for fit, val for validate, test for test."""
        if self.crop_epochs:
            self.check_crops(self.image_size)
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ())
        if all(split in self._splits for split in wanted):
            return
        validates = self.trainer is None or self.trainer.limit_val_batches != 0
        found = load_splits(self, stage, self.hold_out, validates)
        missing = {split: images for split, images in found.items() if split not in self._splits}
        log_info(describe(missing, self))
        if "train" in missing:
            check_labels(missing["train"].labels, self.class_names, self.balance, list(self._preprocessing.mixing))
        self._splits |= {split: self._keep(images, split) for split, images in missing.items()}
        for split, images in missing.items():
            side = self._preprocessing.kept_side(self.image_size, images.images, split)
            self.fingerprints.take(split, self._splits[split], f"{self.resize} {side}", validates)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the choice of held-out images and the fingerprint of the training images, for the checkpoint."""
        return {**self.hold_out.state_dict(), **self.fingerprints.state_dict()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hold out what the run of a checkpoint holds out."""
        before = self.hold_out.state_dict()
        self.hold_out.load_state_dict(state_dict)
        self.fingerprints.load_state_dict(state_dict)
        if "val" in self._splits and self.hold_out.state_dict() != before:  # from Python, the Trainer calls setup first
            stage = "fit" if "train" in self._splits else "validate"
            self._splits.clear()
            self.setup(stage)

    def _keep(self, images: LabelledImages, split: str) -> LabelledImages:
        processes = self.trainer.num_devices if self.trainer else 1
        self._keeping = self._keeping or Keeping(self.disk_cache, self.memory_budget, self.num_workers, processes)
        side = self._preprocessing.kept_side(self.image_size, images.images, split)
        return keep(images, split, side, resize_for(side, self.resize, self.image_size), str(self.root), self._keeping)

    def _loader(self, split: str, batch_size: int, seed: int | None = None) -> BatchLoader:
        images, labels, _ = self._splits[split]
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if not isinstance(images, Tensor | KeptImages) or not fits_on_gpu(images.nbytes, device):
            device = torch.device("cpu")
        more: dict[str, Any] = {}
        if split == "train":
            more = {"balance": self.balance and seed is not None, "pairs": bool(self._preprocessing.mixing)}
            more["global_batch_size"] = self.global_batch_size
        return BatchLoader(images, labels, batch_size, seed, rank, world_size, self.num_workers, device, **more)

    @override
    def train_dataloader(self) -> BatchLoader:
        """Make the loader of training batches, in an order that is drawn anew in each epoch."""
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        return self._loader("train", self.batch_size, None if overfit else self.seed)

    @override
    def val_dataloader(self) -> BatchLoader:
        """Make the loader of validation batches, in a fixed order and large enough for fast evaluation."""
        return self._loader("val", evaluation_batch_size(self.global_batch_size or self.batch_size, self.image_size))

    @override
    def test_dataloader(self) -> BatchLoader:
        return self._loader("test", evaluation_batch_size(self.global_batch_size or self.batch_size, self.image_size))

    @override
    def transfer_batch_to_device(
        self, batch: Batch | DrawnBatch | FeatureBatch, device: torch.device, dataloader_idx: int
    ) -> Batch | DrawnBatch | FeatureBatch:
        """Move the tensors directly; Lightning's generic traversal takes measurable time with small batches."""
        if isinstance(batch, Batch | DrawnBatch | FeatureBatch):
            return batch.to(device)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)  # the model summary's example input

    @override
    def on_after_batch_transfer(self, batch: Batch | DrawnBatch | FeatureBatch, dataloader_idx: int) -> AnyBatch:
        """Preprocess images, with augmentation and crops while training; features need no preprocessing."""
        if not isinstance(batch, Batch | DrawnBatch):
            return batch
        training = self.trainer is not None and self.trainer.training
        return self.preprocess(batch, self.trainer.current_epoch if training else None)  # type: ignore[union-attr]

    def preprocess(self, batch: Batch | DrawnBatch, epoch: int | None = None) -> Batch | MixedBatch:
        """Convert uint8 images to normalised float32, (N, 3, H, W) with channels last in memory, on the same device.

        Args:
            batch: a batch with images (N, 3, H, W) uint8.
            epoch: training epoch, counted from 0, whose augmentation and crops are applied; None applies neither.
        """
        return self._preprocessing(batch, self.image_size, self.seed, epoch, self.crop_at(epoch))


def image_data(trainer: Trainer) -> ImageDataModule | None:
    """Return the trainer's data module, or None if it is not an ImageDataModule."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # declared nowhere, but set by every Trainer
    return data if isinstance(data, ImageDataModule) else None
