"""JPEG files that need nothing but decoding, which torchvision does in half of Pillow's time.

Both use libjpeg-turbo, and give the same pixels. Pillow decodes all others: it turns them upright, knows more kinds of
colours, and decodes at a reduced scale.
"""

import struct
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

_WITHOUT_SIZE = {0xC4, 0xC8, 0xCC}  # markers among those of frames that are none
_APP1 = 0xE1  # EXIF or XMP, which may say which side is up


class Header(NamedTuple):
    """What the header of a JPEG says.

    Attributes:
        height: in pixels.
        width: in pixels.
    """

    height: int
    width: int


def plain_header(content: bytes) -> Header | None:
    """Read the header of a file; None if it is not a JPEG in 8 bits of grey or YCbCr without EXIF and XMP."""
    place = 2
    if content[:2] != b"\xff\xd8":
        return None
    while len(content) >= place + 10 and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _APP1:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in _WITHOUT_SIZE:
            bits, height, width, components = struct.unpack(">BHHB", content[place + 4 : place + 10])
            return Header(height, width) if bits == 8 and components in (1, 3) and height and width else None
        place += 2 + length
    return None


def decode_plain(content: bytes) -> Tensor | None:
    """Decode a file with a plain header to RGB, (3, H, W) uint8; None if torchvision cannot."""
    try:
        return decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    except RuntimeError:  # Pillow reads some damaged files, and says what is wrong with others
        return None
