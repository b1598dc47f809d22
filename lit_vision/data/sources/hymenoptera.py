from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.hub import download_url_to_file
from typing_extensions import override

from lit_vision.data.download import downloading, unpack
from lit_vision.data.sources.folder import ImageFolderDataModule
from lit_vision.utils.files import ensure_writable

_FOLDER = "hymenoptera_data"
_SHA256 = "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209"


class HymenopteraDataModule(ImageFolderDataModule):
    """Ants and bees: 244 training and 153 validation images of many sizes.

    This is the data set of the PyTorch transfer learning tutorial, downloaded on first use (47 MB) and checked by
    sha256. It has no test split: test uses the validation images.

    Args:
        root: Folder that contains hymenoptera_data; by default $LIT_VISION_DATA, or ./data if that is not set.
        image_size: Side in pixels of the square that images are resized to, by default 224.
        url: Address of the download.
        classes: Names of the classes, known before the download.
        kwargs: Options of ImageDataModule.
    """

    foreign_files = frozenset({"imageNotFound.gif"})  # a web server's placeholder among the ants

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int | None = None,
        url: str = "https://download.pytorch.org/tutorial/hymenoptera_data.zip",
        classes: Sequence[str] | None = ("ants", "bees"),
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, image_size=image_size or 224, classes=classes, **kwargs)
        self.url = url
        self.download_root = self.root
        self.root = self.download_root / _FOLDER

    @override
    def prepare_data(self) -> None:
        """Download and unpack the images if their folder does not exist; called in one process per machine."""
        if self.root.is_dir():
            return
        ensure_writable(self.download_root)
        archive = self.download_root / f"{_FOLDER}.zip"
        with downloading(self.url, archive):
            download_url_to_file(self.url, str(archive), hash_prefix=_SHA256)
        unpack(archive, self.root)
        archive.unlink()
