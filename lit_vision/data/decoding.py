"""Decoding of image files to uint8 RGB tensors."""

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lit_vision.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

Resize = Literal["stretch", "center_crop"]
"""Way in which an image becomes a square: by stretching all of it, or by cropping its middle."""


def list_images(folder: Path) -> list[Path]:
    """List the image files below a folder in a fixed order, without hidden files and folders."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_image(path: Path, image_size: int | None = None, resize: Resize = "stretch") -> Tensor:
    """Decode one image file of any kind as upright RGB.

    Args:
        path: the image file; the first frame of an animation is decoded, and 16-bit grey is scaled to 8 bits.
        image_size: side in pixels of the square to resize to (bilinear, antialiased); None keeps the file's own size.
        resize: "stretch" resizes the whole image to the square. "center_crop" resizes the shorter side to 8/7 of
            ``image_size`` (256 for 224) and keeps the middle square, as torchvision's weights expect.

    Returns:
        (3, H, W) uint8.

    Raises:
        UserError: the file cannot be read, or is empty, truncated or not an image.
    """
    try:
        with Image.open(BytesIO(path.read_bytes())) as opened:  # one read instead of Pillow's many small ones
            ImageOps.exif_transpose(opened, in_place=True)
            image = _to_rgb(opened)
    except Exception as error:  # Pillow's decoders raise a dozen kinds, such as struct.error and SyntaxError
        empty = path.is_file() and path.stat().st_size == 0
        unknown = "it is empty" if empty else "it is not an image of a format that Pillow knows"
        reason = unknown if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"cannot read the image {path} ({reason}): repair or delete it") from error
    if image_size is not None:
        image = _to_square(image, image_size, resize)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def uncropped_size(image_size: int) -> int:
    """Return the side in pixels to resize to before the middle ``image_size`` pixels are cropped: 256 for 224."""
    return round(image_size * 8 / 7)


def _to_square(image: Image.Image, side: int, resize: Resize) -> Image.Image:
    if resize == "center_crop":
        # The crop is a box of the original image, so that one resampling both crops and resizes.
        visible = min(image.size) * side / uncropped_size(side)
        left, top = (image.width - visible) / 2, (image.height - visible) / 2
        return image.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + visible, top + visible))
    return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16-bit grey in 16 or 32 bits; convert() would clip at 255 instead of scaling
        return image.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    if "transparency" in image.info:  # RGBA keeps the palette's transparent colours; a direct conversion warns
        image = image.convert("RGBA")
    return image.convert("RGB")
