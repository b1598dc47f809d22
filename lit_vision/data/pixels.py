"""Conversion of decoded images of any kind to RGB, as a viewer shows them."""

import numpy as np
from PIL import Image

_RANGES = (255, 4095, 65535)  # the largest values of 8, 12 and 16 bits
_SPARE_ALPHA = {"BMP", "DIB", "TGA"}  # kinds whose fourth byte is often 0 throughout, which viewers take for unused


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a decoded image of any mode to RGB, with what is transparent over white.

    Raises:
        ValueError: the values are in a range that stands for no known brightness; the message says which.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode == "La":  # Pillow converts premultiplied grey to nothing else
        image = image.convert("LA")
    coloured = image.convert("RGBA")
    if image.format in _SPARE_ALPHA and coloured.getchannel("A").getextrema()[1] == 0:
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits to 8 bits, by the range that its values show.

    Few files say how many of their bits are used: cameras and scanners write 12 bits, and programs 8 bits, into 16 or
    32. At full scale, those would all be black. The price is that a true 16-bit picture is brightened if its brightest
    pixel has at most a sixteenth of the full brightness; a viewer shows such a picture nearly black.
    """
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 255):  # NaN fails this as well
            raise ValueError(f"it holds decimal numbers from {low:g} to {high:g}, not from 0 to 1 or to 255")
        scaled = values * (255 if high <= 1 else 1)
    else:
        full = next((top for top in _RANGES if high <= top), None)
        if full is None or low < 0:
            raise ValueError(f"it holds whole numbers from {low:,} to {high:,}, not from 0 to 65,535 at most")
        scaled = values * (255 / full)
    if isinstance(transparent := image.info.get("transparency"), int):
        scaled = np.where(values == transparent, 255, scaled)
    return Image.fromarray(scaled.round().astype(np.uint8))
