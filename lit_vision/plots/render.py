"""Figures and pictures to pixels and files: colours, fonts, PNG."""

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lit_vision.utils.fonts import find_font

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import, so the functions that need it import it
    from matplotlib.text import Text

BLACK, GREEN, RED = "#1f2328", "#1a7f37", "#cf222e"


def set_fonts(texts: Iterable["Text"]) -> None:
    """Give each text of a figure a font that has its characters."""
    from matplotlib.font_manager import FontProperties

    for text in texts:
        if not (shown := text.get_text()).isascii() and (path := find_font(shown)):
            text.set_fontproperties(FontProperties(fname=path, size=text.get_fontsize()))


def to_image(figure: "Figure") -> Image.Image:
    """Render a figure at 100 pixels per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def as_png(picture: "Figure | Image.Image") -> bytes:
    """A figure or an image as the content of a PNG file."""
    content = BytesIO()
    if isinstance(picture, Image.Image):
        picture.save(content, "png")
    else:
        picture.savefig(content, format="png", dpi=120)
    return content.getvalue()
