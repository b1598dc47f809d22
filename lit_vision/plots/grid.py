import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lit_vision.plots.render import BLACK
from lit_vision.utils.fonts import find_font, shown_text

_GAP, _FONT_SIZE, _LINE = 6, 14, 18  # pixels
_WIDTH = 1200  # pixels, so that a browser shows a grid whole; a longer line of text makes it wider


class Tile(NamedTuple):
    """One image of a grid.

    Attributes:
        image: (3, H, W) uint8.
        lines: Lines of text below the image.
        colour: Colour of the text.
    """

    image: Tensor
    lines: Sequence[str]
    colour: str = BLACK


def plot_grid(tiles: Sequence[Tile], columns: int = 8, side: int = 128) -> Image.Image:
    """Draw images in rows, each above its own text.

    Text is never cut: long lines make columns wider and fewer. Characters that no font has are escaped. Small images
    are enlarged by whole factors, without blur.

    Args:
        tiles: At least one image with its text.
        columns: Largest number of images in a row.
        side: Largest length of the longer side of an image, in pixels.
    """
    tiles = [tile._replace(lines=[shown_text(line) for line in tile.lines]) for tile in tiles]
    longest = max((_font(line).getlength(line) for tile in tiles for line in tile.lines), default=0)
    pictures = [_scaled(tile.image, side) for tile in tiles]
    tallest = max(picture.height for picture in pictures)
    width = max(side, math.ceil(longest)) + 2 * _GAP
    height = tallest + max(len(tile.lines) for tile in tiles) * _LINE + 2 * _GAP
    columns = max(1, min(columns, len(tiles), _WIDTH // width))
    grid = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    draw = ImageDraw.Draw(grid)
    for number, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        left, top = number % columns * width, number // columns * height + _GAP
        grid.paste(picture, (left + (width - picture.width) // 2, top + (tallest - picture.height) // 2))
        for row, line in enumerate(tile.lines):
            at = (left + width / 2, top + tallest + (row + 0.5) * _LINE)
            draw.text(at, line, tile.colour, _font(line), anchor="mm")
    return grid


def _font(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    path = None if text.isascii() else find_font(text)
    return _truetype(path) if path else ImageFont.load_default(_FONT_SIZE)


@cache
def _truetype(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _FONT_SIZE)


def _scaled(image: Tensor, side: int) -> Image.Image:
    """Fit an image into a square of ``side`` pixels: enlarge it by a whole factor, or shrink it."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    if (times := side // max(picture.size)) > 1:
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    return picture
