"""From uint8 images to what a network takes: augmentation, crops, size and normalisation, on the images' device."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lit_vision.data.augment import Augmentation, augment, kept_scale, read_augment
from lit_vision.data.batch import Batch, DrawnBatch, MixedBatch
from lit_vision.data.mixing import MIXING, mix
from lit_vision.data.transforms import KeyedRandom, Normalization, random_crop, to_float


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

    def kept_side(self, image_size: int) -> int:
        """Side in pixels in which training images are kept, so that crops of them need not be enlarged much."""
        return round(image_size * kept_scale(self.steps))

    def __call__(
        self, batch: Batch | DrawnBatch, side: int, seed: int, epoch: int | None, crop: int | None
    ) -> Batch | MixedBatch:
        """Convert uint8 images to float32 (N, 3, side, side), with channels last in memory.

        Args:
            batch: a batch from a loader.
            side: side of the images in pixels.
            seed: seed of the run.
            epoch: training epoch, counted from 0, for which images are augmented; None for no augmentation.
            crop: side of random crops in pixels; None for whole images.
        """
        image = to_float(batch.image)
        draws = batch.draws if isinstance(batch, DrawnBatch) else batch.index
        random = None if epoch is None else KeyedRandom(draws, seed, epoch)
        if random is not None:
            image = augment(image, self.steps, random, side)
        image = _resized(image, side)
        if random is not None and crop is not None:
            image = random_crop(image, random, crop)
        if isinstance(batch, DrawnBatch):
            mixed = mix(batch._replace(image=image), self.mixing, None if epoch is None else (seed, epoch))
            return mixed._replace(image=self._normalize(mixed.image))
        return Batch(self._normalize(image), batch.label, batch.index)


def _resized(image: Tensor, side: int) -> Tensor:
    if image.shape[-1] == side or not len(image):
        return image
    return F.interpolate(image, (side, side), mode="bilinear", antialias=True).clamp_(0, 1)
