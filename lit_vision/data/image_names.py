"""Names of images for reports and tables: files by their path below the folder of the data, others by position."""

import os
from pathlib import Path

from torch import Tensor

from lit_vision.data.batch import LabelledImages
from lit_vision.data.images import ImageFiles, LazyImages
from lit_vision.data.kept_images import KeptImages


def files_of(images: Tensor | LazyImages) -> list[str] | None:
    """The files of a split's images; None if they have no file each."""
    source = images.source if isinstance(images, KeptImages) else images
    return [str(path) for path in source.paths] if isinstance(source, ImageFiles) else None


def image_names(images: LabelledImages, root: Path, origin: str) -> list[str]:
    """A name for each image, which does not depend on the others.

    Args:
        images: a split, or a part of one.
        root: the folder of the data.
        origin: the split of the data set that they are from.
    """
    files = files_of(images.images)
    if files is None:
        return [f"{origin}/{position}" for position in images.ids.tolist()]
    return [file_name(path, root) for path in files]


def file_name(path: str, root: Path) -> str:
    """The path of a file below the folder of the data, with slashes; the whole path if it is not below."""
    inner = os.path.relpath(path, root)
    return (path if inner.startswith(os.pardir) else inner).replace(os.sep, "/")
