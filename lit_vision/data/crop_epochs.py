"""Progressive resizing: the first epochs of a run train on random crops of the images."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lightning.pytorch import LightningDataModule

from lit_vision.errors import UserError
from lit_vision.utils.log import log_info


class Crop(NamedTuple):
    """Square images that are smaller than those of the data.

    Attributes:
        side: their side in pixels.
        resized: side in pixels to which whole images are resized before they are cropped; None if they are not resized.
    """

    side: int
    resized: int | None


class CropEpochs(LightningDataModule):
    """The part of a data module that knows which epochs see crops.

    Attributes:
        crop_epochs: number of initial epochs that are trained on crops.
        crop_size: side of the crops in pixels; None if there are none.
        crop_from: side in pixels to which images are resized before they are cropped; None if they are not resized.
    """

    crop_epochs: int
    crop_size: int | None
    crop_from: int | None

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side in pixels of whole images."""

    def set_crops(self, crop_epochs: int, crop_size: int | None, crop_from: int | None) -> None:
        """Set the attributes.

        Raises:
            UserError: the crops have no size, or are larger than what they are taken from.
        """
        if crop_epochs and crop_size is None:
            raise UserError("crop_epochs needs a size for its crops: set --data.crop_size")
        if crop_from is not None and crop_from < (crop_size or 0):
            raise UserError(f"crop_from {crop_from} is smaller than the crops ({crop_size}): raise --data.crop_from")
        self.crop_epochs, self.crop_size, self.crop_from = crop_epochs, crop_size, crop_from

    def crop_at(self, epoch: int | None) -> Crop | None:
        """The crops in an epoch, counted from 0; None for whole images."""
        if self.crop_size is None or epoch is None or epoch >= self.crop_epochs:
            return None
        return Crop(self.crop_size, self.crop_from)

    def training_sizes(self) -> tuple[int, ...]:
        """Return the sides in pixels of the images that training uses, in the order of their use."""
        crops = (self.crop_size,) if self.crop_epochs and self.crop_size is not None else ()
        return (*crops, self.image_size)

    def check_crops(self, image_size: int) -> None:
        """Raise a UserError if the crops, or what they are taken from, are larger than the images."""
        for option, side in (("crop_size", self.crop_size), ("crop_from", self.crop_from)):
            if (side or 0) > image_size:
                raise UserError(f"{option} {side} is larger than the images ({image_size}): lower --data.{option}")

    @contextmanager
    def whole_images(self) -> Iterator[None]:
        """Train without crops inside this context, since crops and whole images have different loss curves."""
        crop_epochs, self.crop_epochs = self.crop_epochs, 0
        try:
            yield
        finally:
            self.crop_epochs = crop_epochs

    def warn_if_only_crops(self, epochs: float) -> None:
        """Tell the user if a run of this many epochs ends before it trains on whole images, unless ``epochs`` <= 0."""
        debugging = self.trainer is not None and self.trainer.fast_dev_run  # type: ignore[attr-defined]
        if self.crop_epochs and 0 < epochs <= self.crop_epochs and not debugging:
            log_info(
                f"no epoch trains on whole images, since crop_epochs is {self.crop_epochs}: lower --data.crop_epochs, "
                "or train for more epochs"
            )
