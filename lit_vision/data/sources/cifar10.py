from pathlib import Path
from typing import Any

import torch
from torchvision import datasets

from lit_vision.data.datamodule import ImageDataModule, LabelledImages
from lit_vision.data.download import downloading
from lit_vision.utils.files import ensure_writable


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels in ten classes.

    torchvision's data set, downloaded on first use (170 MB) and checked by md5; a broken or changed file is never used.
    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Args:
        root: folder of cifar-10-batches-py; by default $LIT_VISION_DATA, or ./data without it.
        val_size: training images held out for validation; 0 validates on the 10,000 test images.
        url: where to download from; a mirror of cifar-10-python.tar.gz may be faster.
        kwargs: as for :class:`ImageDataModule`.
    """

    class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    split_names = ["train", "test"]
    native_size = 32

    def __init__(
        self,
        root: str | Path | None = None,
        val_size: int = 5000,
        url: str = datasets.CIFAR10.url,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, val_size=val_size, **kwargs)
        self.url = url

    def prepare_data(self) -> None:
        """Download what is missing or damaged; in one process."""
        try:
            self._read("test")
        except RuntimeError:  # torchvision's "not found or corrupted"
            ensure_writable(self.root)
            with downloading(self.url, self.root / datasets.CIFAR10.filename):
                self._read("test", download=True)

    def load(self, split: str) -> LabelledImages:
        """The pixels of one split as they are."""
        data = self._read(split)
        # torchvision shows its (N, 3, 32, 32) memory as (N, 32, 32, 3); this undoes it without a copy
        return LabelledImages(torch.from_numpy(data.data).permute(0, 3, 1, 2), torch.tensor(data.targets))

    def _read(self, split: str, download: bool = False) -> datasets.CIFAR10:
        source = type("CIFAR10", (datasets.CIFAR10,), {"url": self.url})
        return source(self.root, train=split == "train", download=download)
