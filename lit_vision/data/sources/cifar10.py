from pathlib import Path
from typing import Any

import torch
from torchvision import datasets
from typing_extensions import override

from lit_vision.data.batch import LabelledImages
from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.download import downloading
from lit_vision.utils.files import ensure_writable


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels in ten classes.

    The data set is torchvision's, downloaded on first use (170 MB). Every file is checked by md5 before it is used.
    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Args:
        root: Folder that contains cifar-10-batches-py; by default $LIT_VISION_DATA, or ./data if that is not set.
        val_size: Number or fraction of training images held out for validation; 0 validates on the 10,000 test images.
        url: Address of the download; a mirror of cifar-10-python.tar.gz may be faster.
        kwargs: Options of ImageDataModule.
    """

    class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    split_names = ["train", "test"]
    native_size = 32

    def __init__(
        self,
        root: str | Path | None = None,
        val_size: int | float = 5000,
        url: str = datasets.CIFAR10.url,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, val_size=val_size, **kwargs)
        self.url = url

    @override
    def prepare_data(self) -> None:
        """Download the data set if a file is missing or damaged; called in one process per machine."""
        try:
            self._read("test")
        except RuntimeError:  # torchvision's "not found or corrupted"
            ensure_writable(self.root)
            with downloading(self.url, self.root / datasets.CIFAR10.filename):
                self._read("test", download=True)

    @override
    def load(self, split: str) -> LabelledImages:
        data = self._read(split)
        # torchvision shows its (N, 3, 32, 32) memory as (N, 32, 32, 3); this undoes that without a copy
        return LabelledImages(torch.from_numpy(data.data).permute(0, 3, 1, 2), torch.tensor(data.targets))

    def _read(self, split: str, download: bool = False) -> datasets.CIFAR10:
        return _CIFAR10From(self.url, self.root, split == "train", download)


class _CIFAR10From(datasets.CIFAR10):
    """torchvision's data set, downloaded from another address."""

    def __init__(self, url: str, root: Path, train: bool, download: bool) -> None:
        self.url = url  # the constructor may download, so the address must be set first
        super().__init__(root, train=train, download=download)
