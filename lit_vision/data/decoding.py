"""Decoding of image files to uint8 RGB tensors."""

import os
import stat
from contextlib import nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
import PIL
import torch
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from lit_vision.data.jpeg import Header, decode_plain, plain_header
from lit_vision.data.pixels import to_rgb
from lit_vision.errors import UserError
from lit_vision.utils.text import printable

Resize = Literal["stretch", "center_crop"] | int
"""Way in which an image becomes a square: by stretching all of it, or by cropping its middle.

A number is the side in pixels that the shorter side gets before the middle is cropped.
"""

Decoding = Literal["full", "reduced"]
"""Whether large JPEG files are decoded at a reduced scale, see :func:`read_image`."""

_LARGE = 89_478_485  # pixels, Pillow's own limit: 268 MB as RGB; larger photos are decoded at a reduced scale
_LARGEST = 2**28  # pixels of an image that cannot be decoded at a reduced scale
_LARGEST_JPEG = 2**30  # pixels; phones have 200 million

# Pillow warns above its limit and refuses twice of that, whatever the scale. The limits above take its place; its own
# check stays as a guard against files that announce billions of pixels.
Image.MAX_IMAGE_PIXELS = _LARGEST_JPEG

DECODER: dict[str, str | int] = {"pillow": PIL.__version__, "decoding": 1}
"""What a decoded image depends on besides its file and its size. The number grows when this module decodes anew."""

_COMMON = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF")  # tried first: Pillow would try forty kinds one by one

_ONE_AT_A_TIME = Lock()  # for large images that are decoded whole, since several may exceed the memory

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by the value of its EXIF orientation."""


class ImageError(UserError):
    """An image file that cannot be read.

    Args:
        path: the file.
        reason: the reason, which a message shows in brackets.

    Attributes:
        culprit: the file and the reason, without the remedy.
    """

    def __init__(self, path: Path | str, reason: object) -> None:
        self.culprit = f"cannot read the image {printable(str(path))} ({printable(str(reason))})"
        super().__init__(f"{self.culprit}: repair or delete it")


@cache
def _suffixes() -> frozenset[str]:
    """The suffixes of the files that Pillow reads.

    Some kinds are only recognised by Pillow, films are no images, and for EPS it would start another program.
    """
    Image.init()
    readable = {
        kind
        for kind, (factory, _) in Image.OPEN.items()
        if kind not in ("EPS", "MPEG")
        and not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile))
    }
    kinds = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in kinds if kind in readable or kind == "MPO")  # MPO is opened as JPEG


def is_image(path: str) -> bool:
    """Whether a regular file is of a kind that Pillow reads: by its suffix, or without a suffix by its first bytes."""
    name, dot, suffix = path[path.rfind(os.sep) + 1 :].rpartition(".")
    if name and dot:
        return f".{suffix.lower()}" in _suffixes()
    try:
        with Image.open(path):
            return True
    except Exception:  # Pillow's plugins raise a dozen kinds
        return False


def read_image(
    path: Path | str, image_size: int | None = None, resize: Resize = "stretch", decoding: Decoding = "reduced"
) -> Tensor:
    """Decode one image file of any kind as a viewer shows it: upright RGB, over white where it is transparent.

    Args:
        path: the image file; the first frame of an animation is decoded. Grey of more than 8 bits is scaled to 8 bits.
        image_size: side in pixels of the square to resize to (bilinear, antialiased); None keeps the file's own size.
        resize: "stretch" resizes the whole image to the square. "center_crop" resizes the shorter side to 8/7 of
            ``image_size`` (256 for 224) and keeps the middle square, as many of torchvision's weights expect; a number
            of pixels takes the place of the 8/7.
        decoding: "reduced" decodes a JPEG of at least four times the wanted side at a half, a quarter or an eighth of
            its scale, but to no less than twice the wanted side, which takes less time. "full" does so only for photos
            of more than 89 million pixels.

    Returns:
        (3, H, W) uint8.

    Raises:
        ImageError: the file cannot be read: it is empty, truncated, too large or not an image.
    """
    content = _content(path)
    needed = None if image_size is None else 2 * uncropped_size(image_size, resize)
    above = 0 if decoding == "reduced" else _LARGE
    decoded = None
    if (header := plain_header(content)) and not _reduces(header, needed, above):
        decoded = decode_plain(content)
    if decoded is None:
        image, _ = _decode(path, content, needed, above)
    elif image_size is None or (resize == "stretch" and decoded.shape[1:] == (image_size, image_size)):
        return decoded
    else:
        image = Image.fromarray(decoded.permute(1, 2, 0).numpy())
    if image_size is not None:
        image = _to_square(image, image_size, resize)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _reduces(size: Header, needed: int | None, above: int) -> bool:
    """Whether Pillow would decode a JPEG at a reduced scale; true for any that is too large for all at once."""
    if needed is None or size.height * size.width > _LARGE:
        return size.height * size.width > _LARGE
    return size.height * size.width > above and min(size.height, size.width) >= 2 * needed


def check_image(path: Path | str) -> tuple[int, int]:
    """Find out whether a file can be decoded, which takes less time than decoding it.

    Returns:
        Height and width of the upright image, in pixels.

    Raises:
        ImageError: as in :func:`read_image`.
    """
    return _decode(path, _content(path), 1, above=0)[1]


def uncropped_size(image_size: int, resize: Resize) -> int:
    """Return the side in pixels to resize to before the middle ``image_size`` pixels are cropped."""
    if isinstance(resize, int):
        return resize
    return round(image_size * 8 / 7) if resize == "center_crop" else image_size


def resize_for(image_size: int, resize: Resize, given_for: int) -> Resize:
    """Return the way to resize to ``image_size`` pixels that shows what ``resize`` shows for another size."""
    return round(resize * image_size / given_for) if isinstance(resize, int) else resize


def _decode(path: Path | str, content: bytes, needed: int | None, above: int) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a file to upright RGB, at a reduced scale if it is a JPEG and only its look at a smaller size is needed.

    Args:
        path: the file, for errors.
        content: what it holds.
        needed: smallest side of the result in pixels; None decodes at the full scale.
        above: number of pixels from which the scale is reduced.

    Returns:
        The image, and the height and width that it has at the full scale.
    """
    try:
        with _open(BytesIO(content)) as opened:
            width, height = opened.size
            reduced = needed is not None and opened.format in ("JPEG", "MPO")
            limit = _LARGEST_JPEG if reduced else _LARGEST
            if width * height > limit:
                raise ValueError(f"its {width:,} x {height:,} pixels are more than {limit:,}")
            if reduced and width * height > above:
                opened.draft(None, (needed or 1, needed or 1))
            with _ONE_AT_A_TIME if opened.width * opened.height > _LARGE else nullcontext():
                opened.load()
                orientation = _orientation(opened)
                upright = opened.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else opened
                return to_rgb(upright), (width, height) if orientation >= 5 else (height, width)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(path, "it is not an image of a format that Pillow knows") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds, such as struct.error and SyntaxError
        raise ImageError(path, error) from error


def _open(file: BytesIO) -> Image.Image:
    try:
        return Image.open(file, formats=_COMMON)
    except UnidentifiedImageError:
        return Image.open(file)


def _content(path: Path | str) -> bytes:
    """Read a file in one request instead of Pillow's many small ones."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(path, "it is not a regular file")  # reading a pipe or a device may never end
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    except OSError as error:
        raise ImageError(path, error.strerror) from error
    if not content:
        raise ImageError(path, "it is empty")
    return content


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a decoded image, 1 to 8; 1, which is upright, if there is none or it makes no sense.

    Pillow turns TIFF files itself when it decodes them, and takes their orientation away.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF, which viewers ignore
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_square(image: Image.Image, side: int, resize: Resize) -> Image.Image:
    if resize != "stretch":
        # The crop is a box of the original image, so that one resampling both crops and resizes.
        visible = min(image.size) * side / uncropped_size(side, resize)
        left, top = (image.width - visible) / 2, (image.height - visible) / 2
        return image.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + visible, top + visible))
    return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR)
