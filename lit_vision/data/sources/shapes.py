import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lit_vision.data.batch import LabelledImages
from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.rng import random_uniform
from lit_vision.errors import check_at_least
from lit_vision.utils.bars import progress_bar

# A shape is a function of points x, y: the signed distance to its outline, which is negative inside. The outline lies
# within radius 1.1 about the origin. The formulas are the usual ones (Quilez, "2D distance functions"); they need to be
# exact only near the edge.


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _disc(x: Tensor, y: Tensor, radius: float) -> Tensor:
    return torch.hypot(x, y) - radius


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    sector = 2 * math.pi / 3
    return torch.hypot(x, y) * (torch.remainder(torch.atan2(y, x), sector) - sector / 2).cos() - math.cos(sector / 2)


def _star(x: Tensor, y: Tensor) -> Tensor:
    # Folded into half a point of the star, the outline is one line, from (inner, 0) to the tip at angle `sector`.
    sector, inner = math.pi / 5, 0.4
    angle = (torch.remainder(torch.atan2(y, x), 2 * sector) - sector).abs()
    radius = torch.hypot(x, y)
    dx, dy = math.cos(sector) - inner, math.sin(sector)
    return ((radius * angle.cos() - inner) * dy - radius * angle.sin() * dx) / math.hypot(dx, dy)


_SHAPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bar": lambda x, y: _box(x, y, 1, 0.3),
    "corner": lambda x, y: torch.minimum(_box(x + 0.5, y, 0.25, 0.8), _box(x, y - 0.55, 0.75, 0.25)),
    "crescent": lambda x, y: torch.maximum(_disc(x, y, 0.95), -_disc(x - 0.5, y, 0.75)),
    "cross": lambda x, y: torch.minimum(_box(x, y, 0.95, 0.28), _box(x, y, 0.28, 0.95)),
    "disc": lambda x, y: _disc(x, y, 0.85),
    "half_disc": lambda x, y: torch.maximum(_disc(x, y + 0.4, 1), -y - 0.4),
    "ring": lambda x, y: _disc(x, y, 0.7).abs() - 0.2,
    "square": lambda x, y: _box(x, y, 0.72, 0.72),
    "star": _star,
    "triangle": _triangle,
}

_CHUNK = 500  # images drawn at a time, to bound the memory of the pixel grids


def draw_shapes(index: Tensor, image_size: int, *key: int | str) -> Tensor:
    """Draw one image for each index: shape ``index % 10``, with random colours and a random position.

    Size, position, rotation and colour of the shape vary, as do colour and gradient of the background; noise covers the
    whole image. Before gradient and noise, the two colours differ by at least 0.3 of the range in every channel, so
    that each shape is visible.

    Args:
        index: (N,) int64.
        image_size: side in pixels.
        key: key of the random numbers; the same key and index give the same image.

    Returns:
        (N, 3, image_size, image_size) uint8.
    """

    def draw(name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        return (low + (high - low) * random_uniform(index, *key, name))[:, None, None]

    def colour(name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.stack([draw(f"{name} {channel}", low, high) for channel in "rgb"], 1)

    axis = (torch.arange(image_size) + 0.5) / image_size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = draw("radius", 0.4, 0.65)
    angle = draw("angle", 0, 2 * math.pi)
    dx, dy = (x - draw("x", -0.3, 0.3)) / radius, (y - draw("y", -0.3, 0.3)) / radius
    u, v = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
    distance = torch.empty_like(u)
    for label, shape in enumerate(_SHAPES.values()):
        chosen = index % len(_SHAPES) == label
        distance[chosen] = shape(u[chosen], v[chosen])
    cover = (0.5 - distance * radius * image_size / 2).clamp(0, 1)[:, None]  # an edge is one pixel wide

    front = colour("front")
    back = (front + colour("back", 0.3, 0.7)) % 1
    slope = draw("slope", 0, 2 * math.pi)
    back = back + 0.15 * (x * slope.cos() + y * slope.sin())[:, None]
    pixels = (index[:, None] * image_size**2 + torch.arange(image_size**2)).view(-1, image_size, image_size)
    noise = 0.2 * (random_uniform(pixels, *key, "noise")[:, None] - 0.5)
    return ((front * cover + back * (1 - cover) + noise) * 255).round().clamp(0, 255).to(torch.uint8)


class ShapesDataModule(ImageDataModule):
    """Images of ten shapes, drawn by the program: a data set for trying everything without a download.

    The images depend on data.seed if that is given, and never on seed_everything: a run that is validated or resumed
    under another seed has the same images. root is not used.

    Args:
        train_size: Number of training images, of which val_size are held out.
        test_size: Number of test images.
        val_size: Number or fraction of training images held out for validation; 0 validates on the test images.
        kwargs: Options of ImageDataModule; image_size is the size at which the images are drawn.
    """

    class_names = list(_SHAPES)
    split_names = ["train", "test"]
    native_size = 32

    def __init__(
        self, train_size: int = 12000, test_size: int = 2000, val_size: int | float = 1000, **kwargs: Any
    ) -> None:
        super().__init__(val_size=val_size, **kwargs)
        check_at_least(len(_SHAPES), "data", train_size=train_size, test_size=test_size)
        self.sizes = {"train": train_size, "test": test_size}

    @property
    def drawing_seed(self) -> int:
        """Seed of the images."""
        return 0 if self.given_seed is None else self.given_seed

    @override
    def load(self, split: str) -> LabelledImages:
        index = torch.arange(self.sizes[split])
        images = []
        with progress_bar(f"drawing {split}", len(index)) as bar:
            for chunk in index.split(_CHUNK):
                images.append(draw_shapes(chunk, self.image_size, self.drawing_seed, "shapes", split))
                bar.update(len(chunk))
        return LabelledImages(torch.cat(images), index % len(_SHAPES))
