"""Copies of images: files with the same content, and pictures that look the same."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

SIDE = 64
"""Side in pixels of the pictures that are hashed."""

SMALL = 32
"""Side in pixels of the pictures that are compared."""

_BLOCK = 1024  # images that are compared with all others at once
_BITS = 64  # of a perceptual hash
_NEAR = 12  # bits by which the hashes of copies may differ
_ALIKE, _SAME = 0.92, 0.98  # correlations of pictures: copies have at least the second, or the first and
_MOST_DIFFERENCE = 16.0  # this mean difference of values in [0, 255]


class Pair(NamedTuple):
    """Two images that are copies.

    Attributes:
        first: position of the one that comes first.
        second: position of the other.
        exact: whether their content is the same.
        mirrored: whether the second is a mirror image of the first.
    """

    first: int
    second: int
    exact: bool = False
    mirrored: bool = False


def perceptual_hash(picture: Tensor) -> Tensor:
    """The perceptual hash of a picture (3, SIDE, SIDE) uint8: (64,) bool, which small changes leave nearly the same."""
    from imagehash import phash  # takes a second to import

    found = phash(Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()))
    return torch.from_numpy(np.ascontiguousarray(found.hash).flatten())


def shrink(picture: Tensor) -> Tensor:
    """A picture (3, SIDE, SIDE) uint8 as (3, SMALL, SMALL) uint8."""
    return F.interpolate(picture[None].float(), SMALL, mode="area")[0].round().to(torch.uint8)


def exact_copies(contents: Sequence[bytes]) -> list[Pair]:
    """Pair each image with the first of the same content.

    Args:
        contents: a hash of the content of each image.
    """
    first: dict[bytes, int] = {}
    pairs = []
    for position, content in enumerate(contents):
        if (earlier := first.setdefault(content, position)) != position:
            pairs.append(Pair(earlier, position, exact=True))
    return pairs


def near_copies(pictures: Tensor, hashes: Tensor, mirrored_hashes: Tensor) -> list[Pair]:
    """Find pictures that look the same, such as copies that were resized, compressed again or mirrored.

    Hashes find the candidates, and the pictures themselves decide, for the hashes of blurred pictures may be alike.
    Each copy is paired once, with the first picture that it is like.

    Args:
        pictures: (N, 3, SMALL, SMALL) uint8, see :func:`shrink`.
        hashes: (N, 64) bool, see :func:`perceptual_hash`.
        mirrored_hashes: (N, 64) bool, those of the mirrored pictures.
    """
    signs, mirrored_signs = (found.float() * 2 - 1 for found in (hashes, mirrored_hashes))
    is_copy = torch.zeros(len(signs), dtype=torch.bool)
    pairs = []
    for start in range(0, len(signs), _BLOCK):
        block = signs[start : start + _BLOCK]
        near = [(_BITS - block @ other.T) / 2 <= _NEAR for other in (signs, mirrored_signs)]
        for row in (near[0] | near[1]).any(1).nonzero().flatten().tolist():
            first = start + row
            for mirrored in (False, True):
                candidates = near[mirrored][row].nonzero().flatten()
                candidates = candidates[(candidates > first) & ~is_copy[candidates]]
                for part in candidates.split(_BLOCK):
                    copies = part[_look_the_same(pictures[first], pictures[part], mirrored)]
                    is_copy[copies] = True
                    pairs += [Pair(first, copy, mirrored=mirrored) for copy in copies.tolist()]
    return pairs


def _look_the_same(picture: Tensor, others: Tensor, mirrored: bool) -> Tensor:
    """Which of other pictures (n, 3, SMALL, SMALL) look the same as one, or as its mirror image, (n,) bool."""
    a, b = picture[None].float(), (others.flip(-1) if mirrored else others).float()
    # without the mean of each channel, for a common background would hide what is before it
    centred_a, centred_b = ((one - one.mean((2, 3), keepdim=True)).flatten(1) for one in (a, b))
    scale = centred_a.norm(dim=1) * centred_b.norm(dim=1)
    correlation = (centred_a * centred_b).sum(1) / scale.clamp(min=1)
    difference = (a - b).abs().mean((1, 2, 3))
    alike = (correlation >= _SAME) | ((correlation >= _ALIKE) & (difference <= _MOST_DIFFERENCE))
    return torch.where(scale < 1, difference < 1, alike)  # those of one colour have no structure


def is_mirrored(first: Tensor, second: Tensor) -> bool:
    """Whether a picture (3, SMALL, SMALL) uint8 is more like the mirror image of another than like that itself."""
    a, b = first.float(), second.float()
    return bool((a - b.flip(-1)).abs().mean() < (a - b).abs().mean())


def groups_of(count: int, pairs: Sequence[Pair]) -> Tensor:
    """A number for each of ``count`` images that it shares with its copies, and theirs, (count,) int64."""
    group = list(range(count))

    def root(position: int) -> int:
        while group[position] != position:
            group[position] = group[group[position]]
            position = group[position]
        return position

    for pair in pairs:
        a, b = sorted((root(pair.first), root(pair.second)))
        group[b] = a
    return torch.tensor([root(position) for position in range(count)])
