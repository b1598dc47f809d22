import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from torch.hub import download_url_to_file

from lit_vision.data.download import downloading
from lit_vision.data.sources.folder import ImageFolderDataModule
from lit_vision.errors import UserError
from lit_vision.utils.files import ensure_writable

_FOLDER = "hymenoptera_data"
_SHA256 = "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209"


class HymenopteraDataModule(ImageFolderDataModule):
    """Ants and bees: 244 training and 153 validation images of many sizes.

    The set of the PyTorch transfer learning tutorial, downloaded on first use (47 MB) and checked by sha256. It has no
    test split: test uses the validation images.

    Args:
        root: folder of hymenoptera_data; by default $LIT_VISION_DATA, or ./data without it.
        image_size: side in pixels to which images are resized.
        url: where to download from.
        kwargs: as for :class:`ImageDataModule`.
    """

    class_names = ["ants", "bees"]
    split_names = ["train", "val"]
    left_out = frozenset({"imageNotFound.gif"})  # a web server's placeholder among the ants

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int = 224,
        url: str = "https://download.pytorch.org/tutorial/hymenoptera_data.zip",
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, image_size=image_size, **kwargs)
        self.url = url
        self.download_root = self.root
        self.root = self.download_root / _FOLDER

    def prepare_data(self) -> None:
        """Download and unpack what is not there; in one process."""
        if self.root.is_dir():
            return
        ensure_writable(self.download_root)
        archive = self.download_root / f"{_FOLDER}.zip"
        with downloading(self.url, archive):
            download_url_to_file(self.url, str(archive), hash_prefix=_SHA256)
        unpack(archive, self.root)
        archive.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the folder of that name from a zip file, whole or not at all.

    Raises:
        UserError: a file in the archive would land outside of the folder.
    """
    with zipfile.ZipFile(archive) as content, tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        for name in content.namelist():
            if not (Path(beside) / name).resolve().is_relative_to(Path(beside).resolve()):
                raise UserError(
                    f"{archive} would write outside of its folder ({name}): remove it, it cannot be trusted"
                )
        content.extractall(beside)
        os.replace(Path(beside) / folder.name, folder)
