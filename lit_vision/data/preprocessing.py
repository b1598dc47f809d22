"""From uint8 images to what a network takes: augmentation, crops, size and normalisation, on the images' device."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lit_vision.data.augment import Augmentation, augment, kept_scale, read_augment
from lit_vision.data.batch import Batch, DrawnBatch, MixedBatch
from lit_vision.data.crop_epochs import Crop
from lit_vision.data.decoding import Resize
from lit_vision.data.images import LazyImages
from lit_vision.data.mixing import MIXING, mix
from lit_vision.data.transforms import KeyedRandom, Normalization, random_crop, to_float
from lit_vision.errors import UserError


def checked_resize(resize: Resize | None, image_size: int | None) -> Resize:
    """The way in which images are resized, stretch by default.

    Raises:
        UserError: it needs a size, or asks for less than that.
    """
    if resize not in (None, "stretch") and image_size is None:
        raise UserError(f"resize {resize} needs a size: set --data.image_size")
    if isinstance(resize, int) and resize < (image_size or 0):
        raise UserError(f"resize {resize} is smaller than the images ({image_size}): raise --data.resize")
    return "stretch" if resize is None else resize


class Preprocessing:
    """Turns the images of a loader into those that a network takes.

    Args:
        steps: names of augmentations, or their names with their options, see :func:`read_augment`.
        mean: mean of each channel, subtracted from values in [0, 1].
        std: standard deviation of each channel, by which the centred values are divided.

    Raises:
        UserError: an augmentation is unknown, or an option of one is out of its range.
    """

    def __init__(self, steps: Sequence[Augmentation], mean: Sequence[float], std: Sequence[float]) -> None:
        given = read_augment(steps)
        self.steps = {name: options for name, options in given.items() if name not in MIXING}
        self.mixing = {name: options["alpha"] for name, options in given.items() if name in MIXING}
        self._normalize = Normalization(mean, std)

    @property
    def varies(self) -> bool:
        """Whether an image may be another in each epoch."""
        return bool(self.steps or self.mixing)

    def kept_side(self, image_size: int, images: Tensor | LazyImages, split: str) -> int:
        """Side in pixels in which images are kept; those of train so that crops of them need not be enlarged much.

        Args:
            image_size: side in pixels of the images that a network takes.
            images: the images; to enlarge those in memory, (N, 3, H, W), would add nothing.
            split: name of their split.
        """
        side = round(image_size * kept_scale(self.steps)) if split == "train" else 0
        native = images.shape[-1] if isinstance(images, Tensor) else side
        return max(image_size, min(side, native))

    def __call__(
        self, batch: Batch | DrawnBatch, side: int, seed: int, epoch: int | None, crop: Crop | None
    ) -> Batch | MixedBatch:
        """Convert uint8 images to float32 (N, 3, side, side), with channels last in memory.

        Args:
            batch: a batch from a loader.
            side: side of the images in pixels.
            seed: seed of the run.
            epoch: training epoch, counted from 0, for which images are augmented; None for no augmentation.
            crop: random crops to take from the images; None for whole images.
        """
        image = to_float(batch.image)
        draws = batch.draws if isinstance(batch, DrawnBatch) else batch.index
        random = None if epoch is None else KeyedRandom(draws, seed, epoch)
        if random is not None:
            image = augment(image, self.steps, random, side)
        image = _resized(image, crop.resized or side if crop else side)
        if random is not None and crop is not None:
            image = random_crop(image, random, crop.side)
        if isinstance(batch, DrawnBatch):
            mixed = mix(batch._replace(image=image), self.mixing, None if epoch is None else (seed, epoch))
            return mixed._replace(image=self._normalize(mixed.image))
        return Batch(self._normalize(image), batch.label, batch.index)


def _resized(image: Tensor, side: int) -> Tensor:
    if image.shape[-1] == side or not len(image):
        return image
    return F.interpolate(image, (side, side), mode="bilinear", antialias=True).clamp_(0, 1)
