"""Random numbers that are a function of what they are for, so that there is no generator state to lose.

Every draw is the hash of its key: (seed, epoch, image index, ...). A shuffle or an augmentation therefore does not
depend on batch size, workers, devices, or on what was drawn before, and a restarted run draws what it would have drawn.
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
"""

import zlib

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLY = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def _signed(value: int) -> int:
    """The int64 that has the same 64 bits, since torch has no arithmetic on uint64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _mix(value: Tensor) -> Tensor:
    # `>>` keeps the sign, the mask makes it the logical shift that the hash is defined with.
    value = (value ^ ((value >> 30) & ((1 << 34) - 1))) * _signed(_MULTIPLY[0])
    value = (value ^ ((value >> 27) & ((1 << 37) - 1))) * _signed(_MULTIPLY[1])
    return value ^ ((value >> 31) & ((1 << 33) - 1))


def _mix_int(value: int) -> int:
    value = ((value ^ (value >> 30)) * _MULTIPLY[0]) & _MASK
    value = ((value ^ (value >> 27)) * _MULTIPLY[1]) & _MASK
    return value ^ (value >> 31)


def random_bits(index: Tensor, *key: int | str) -> Tensor:
    """64 random bits for each index.

    Args:
        index: (N,) int64.
        key: what the draw is for, such as a seed, an epoch and a purpose; strings count by their bytes.

    Returns:
        (N,) int64 on the device of ``index``, the same for the same index and key everywhere.
    """
    state = 0
    for part in key:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part
        state = _mix_int((state + _GOLDEN + number) & _MASK)
    return _mix(index * _signed(_GOLDEN) + _signed(state))


def random_uniform(index: Tensor, *key: int | str) -> Tensor:
    """(N,) float32 in [0, 1), one for each index; arguments as for :func:`random_bits`."""
    bits = (random_bits(index, *key) >> 40) & ((1 << 24) - 1)  # 24 bits are what a float32 holds exactly
    return bits.to(torch.float32) * 2.0**-24


def random_permutation(n: int, *key: int | str) -> Tensor:
    """A random order of the numbers 0 to n - 1: (n,) int64."""
    return random_bits(torch.arange(n), *key).argsort()
