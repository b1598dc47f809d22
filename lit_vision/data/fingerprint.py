"""Checksums of training images, so that a run that goes on with other images says so."""

import os
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from lit_vision.data.batch import LabelledImages
from lit_vision.data.images import ImageFiles
from lit_vision.data.kept_images import KeptImages
from lit_vision.utils.log import log_info

Fingerprint = dict[str, int | str]


def fingerprint(images: LabelledImages, decoded_as: str) -> Fingerprint:
    """Compute checksums of a split, in plain values.

    Args:
        images: the split. If its images are decoded at each use, the sizes of their files stand for their pixels.
        decoded_as: what the pixels depend on besides the files, such as the size of the images.
    """
    content = images.images
    checksums: Tensor | None = None
    if isinstance(content, Tensor):
        checksums = torch.tensor([_checksum(image) for image in content])
    elif isinstance(content, KeptImages):
        checksums, content = content.checksums(), content.source
    if checksums is None and isinstance(content, ImageFiles):
        checksums = torch.tensor([os.path.getsize(path) for path in content.paths])
        decoded_as = "sizes of files"
    return {
        "images": len(images.labels),
        "names": _checksum(images.ids),
        "labels": _checksum(images.labels),
        "content": 0 if checksums is None else _checksum(checksums),
        "decoded_as": f"checksums, {decoded_as}",
    }


def difference(before: Mapping[str, int | str], now: Mapping[str, int | str]) -> str | None:
    """Say in which way a split differs from what it was; None if it is the same as far as can be told."""
    if before["images"] != now["images"]:
        return f"{now['images']:,} instead of {before['images']:,}"
    for name in ("names", "labels", "content"):
        if before[name] != now[name] and (name != "content" or before["decoded_as"] == now["decoded_as"]):
            return f"other {name}"
    return None


class TrainingFingerprints:
    """The fingerprints of the training images now and in a checkpoint; says once if they differ.

    Attributes:
        now: the fingerprint of the images that are trained on; None before they are loaded.
    """

    def __init__(self) -> None:
        self.now: Fingerprint | None = None
        self._saved: Fingerprint | None = None

    def take(self, images: LabelledImages, decoded_as: str) -> None:
        """Take the fingerprint of the training images, see :func:`fingerprint`."""
        self.now = fingerprint(images, decoded_as)
        self._compare()

    def load(self, saved: Fingerprint | None) -> None:
        """Compare with the fingerprint of a checkpoint; None if it has none."""
        if saved != self._saved:
            self._saved = saved
            self._compare()

    def _compare(self) -> None:
        if self.now and self._saved and (how := difference(self._saved, self.now)):
            log_info(f"the training images are not those of the checkpoint: {how}")


def _checksum(values: Tensor) -> int:
    return zlib.crc32(values.contiguous().numpy().data)
