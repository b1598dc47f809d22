"""Counter-based random numbers: each draw is a hash of its key, so there is no generator state to save.

The key is (seed, epoch, image index, ...). A shuffle or an augmentation therefore does not depend on the batch size,
the workers, the device or earlier draws, and a resumed run draws the same numbers as an uninterrupted one. The hash is
the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
"""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[[str], Tensor]
"""A function from a name to (N,) float32 in [0, 1), one random number for each image of the batch."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLY = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def _signed(value: int) -> int:
    """Return the int64 with the same 64 bits; torch has no arithmetic on uint64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _mix(value: Tensor) -> Tensor:
    # `>>` extends the sign; the mask makes it the logical shift of the hash's definition.
    value = (value ^ ((value >> 30) & ((1 << 34) - 1))) * _signed(_MULTIPLY[0])
    value = (value ^ ((value >> 27) & ((1 << 37) - 1))) * _signed(_MULTIPLY[1])
    return value ^ ((value >> 31) & ((1 << 33) - 1))


def _mix_int(value: int) -> int:
    value = ((value ^ (value >> 30)) * _MULTIPLY[0]) & _MASK
    value = ((value ^ (value >> 27)) * _MULTIPLY[1]) & _MASK
    return value ^ (value >> 31)


def random_bits(index: Tensor, *key: int | str) -> Tensor:
    """Draw 64 random bits for each index.

    Args:
        index: (N,) int64.
        key: values that identify the draw, such as a seed, an epoch and a name; strings are hashed by their bytes.

    Returns:
        (N,) int64 on the device of ``index``; the same index and key give the same bits on every device.
    """
    state = 0
    for part in key:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part
        state = _mix_int((state + _GOLDEN + number) & _MASK)
    return _mix(index * _signed(_GOLDEN) + _signed(state))


def random_uniform(index: Tensor, *key: int | str) -> Tensor:
    """Draw a number in [0, 1) for each index, (N,) float32; see :func:`random_bits`."""
    bits = (random_bits(index, *key) >> 40) & ((1 << 24) - 1)  # a float32 holds 24 bits exactly
    return bits.to(torch.float32) * 2.0**-24


def random_permutation(n: int, *key: int | str) -> Tensor:
    """Shuffle the numbers 0 to n - 1: (n,) int64."""
    return random_bits(torch.arange(n), *key).argsort()
