"""A look at every image of a data set: what cannot be read, how large the others are, and what they look like."""

from collections.abc import Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from lit_vision.data.batch import LabelledImages
from lit_vision.data.decode_ahead import decode_ahead
from lit_vision.data.decoding import ImageError, read_image
from lit_vision.data.image_names import files_of
from lit_vision.insight.duplicates import SIDE, perceptual_hash, shrink
from lit_vision.utils.bars import progress_bar


class Look(NamedTuple):
    """What was seen of an image.

    Attributes:
        problem: the reason why it cannot be read; empty if it can. Then all that follows is there.
        kind: its size and mode, such as 500x375 RGB JPEG.
        content: a hash of the file, or of the pixels of an image in memory.
        small: (3, SMALL, SMALL) uint8, the picture.
        hash: (64,) bool, its perceptual hash.
        mirrored_hash: (64,) bool, that of the mirrored picture.
    """

    problem: str
    kind: str = ""
    content: bytes = b""
    small: Tensor | None = None
    hash: Tensor | None = None
    mirrored_hash: Tensor | None = None


def look_at_all(images: LabelledImages, workers: int, split: str) -> Iterator[Look]:
    """Look at each image of a split, in order.

    Args:
        images: the split.
        workers: number of threads.
        split: its name, for the progress bar.
    """
    files, content = files_of(images.images), images.images

    def look(index: int) -> Look:
        if files is not None:
            return _look_at_file(files[index])
        image = content[index]
        height, width = image.shape[1:]
        return _look(f"{width}x{height} RGB", image.contiguous().numpy().tobytes(), F.resize(image, [SIDE, SIDE]))

    count = len(images.labels)
    with (
        progress_bar(f"looking at {split}", count) as bar,
        closing(decode_ahead(look, range(count), workers, ahead=32 * max(1, workers))) as looks,
    ):
        for found in looks:
            bar.update()
            yield found


def _look_at_file(path: str) -> Look:
    try:
        picture = read_image(path, SIDE)
        with Image.open(path) as image:
            kind = f"{image.width}x{image.height} {image.mode} {image.format}"
        return _look(kind, Path(path).read_bytes(), picture)
    except ImageError as error:
        return Look(error.culprit)
    except OSError as error:
        return Look(f"cannot read the image {path} ({error.strerror})")


def _look(kind: str, content: bytes, picture: Tensor) -> Look:
    hashes = (perceptual_hash(one) for one in (picture, picture.flip(-1)))
    return Look("", kind, blake2b(content, digest_size=16).digest(), shrink(picture), *hashes)


def stacked(looks: list[Look], name: str) -> Tensor:
    """A tensor of all images that can be read, such as ``hash``, (N, ...)."""
    found = [value for value in (look._asdict()[name] for look in looks) if value is not None]
    return torch.stack(found) if found else torch.zeros(0)
