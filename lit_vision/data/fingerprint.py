"""Checksums of training images, so that a run says if it resumes with others, or is measured on the same."""

import os
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_vision.data.batch import LabelledImages
from lit_vision.data.images import ImageFiles
from lit_vision.data.kept_images import KeptImages
from lit_vision.errors import UserError
from lit_vision.utils.log import log_info

Fingerprint = dict[str, int | str]

_SAMPLE = 4096  # checksums in a checkpoint: all of a small set, the lowest of a large one


def fingerprint(images: LabelledImages, decoded_as: str, checksums: Tensor | None) -> Fingerprint:
    """Compute checksums of a split, in plain values.

    Args:
        images: the split. If its images are decoded at each use, the sizes of their files stand for their pixels.
        decoded_as: what the pixels depend on besides the files, such as the size of the images.
        checksums: see :func:`checksums_of`.
    """
    content = images.images
    if isinstance(content, KeptImages):
        content = content.source
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


def checksums_of(images: LabelledImages) -> Tensor | None:
    """The CRC-32 of the pixels of each image, (N,) int64; None if the images are decoded at each use."""
    if isinstance(images.images, Tensor):
        return torch.tensor([_checksum(image) for image in images.images])
    checksums = images.images.checksums() if isinstance(images.images, KeptImages) else None
    return None if checksums is None else checksums.long()


class Seen(NamedTuple):
    """Training images, by which they are known again in another split.

    Attributes:
        decoded_as: what the pixels depend on besides the files.
        sample: the lowest checksums of pixels, in ascending order.
        whole: whether that is all of them.
    """

    decoded_as: str
    sample: list[int]
    whole: bool

    def overlap(self, checksums: Tensor) -> tuple[int, int]:
        """How many images, by their checksums (N,) int64, are among these, and of how many that can be told."""
        if not self.sample:
            return 0, 0
        comparable = checksums if self.whole else checksums[checksums <= self.sample[-1]]
        return int(torch.isin(comparable, torch.tensor(self.sample)).sum()), len(comparable)

    def tell(self, checksums: Tensor, split: str) -> None:
        """Tell the user if images of a split, by their checksums (N,) int64, were trained on."""
        same, comparable = self.overlap(checksums)
        if same:
            of = f"{comparable:,} images" if self.whole else f"{comparable:,} images that a sample can tell"
            log_info(f"{split}: {same:,} of {of} are among those that the network is trained on")


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

    It also says if images of another split were trained on.
    """

    def __init__(self) -> None:
        self._now: Fingerprint | None = None
        self._saved: Fingerprint | None = None
        self._validated: Fingerprint | None = None  # the images of val, now or in the checkpoint
        self._validated_sample: list[Any] | None = None
        self._validates = True
        self._prints: dict[str, Fingerprint] = {}
        self._seen: list[Seen] = []  # in this run, and in those before it
        self._measured: dict[str, tuple[str, Tensor]] = {}  # how other splits are decoded, and their checksums

    def state_dict(self) -> dict[str, Any]:
        """Return fingerprints of train and val, None before they are loaded, and samples of what was trained on."""
        seen = [[*seen] for seen in self._seen]
        validated, sample = self._validated, self._validated_sample
        if self._now and self._validates and "val" in self._prints:
            validated = self._prints["val"]
            sample = [*_sample_of(*self._measured["val"])] if "val" in self._measured else None
        return {"fingerprint": self._now, "validated": validated, "validated_sample": sample, "seen": seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Compare with a checkpoint, which may have less if it is from an earlier version.

        Raises:
            TypeError: it has something else, as in a file that was not written here.
        """
        saved, self._validated = state.get("fingerprint"), state.get("validated")
        self._validated_sample = state.get("validated_sample")
        for found in (saved, self._validated):
            if found is not None and not {"images", "names", "labels", "content", "decoded_as"} <= found.keys():
                raise TypeError("not a fingerprint")
        if saved != self._saved:
            self._saved = saved
            self._compare()
        samples = [Seen(*fields) for fields in state.get("seen", [])]
        validated = [] if self._validated_sample is None else [Seen(*self._validated_sample)]
        for seen in (*samples, *validated):
            if not all(isinstance(checksum, int) for checksum in seen.sample):
                raise TypeError("not checksums")
        for seen in samples:
            self._add(seen)

    def take(self, split: str, images: LabelledImages, decoded_as: str, validates: bool = True) -> None:
        """Take the fingerprint of the training images, or compare another split with them.

        Args:
            split: name of the split.
            images: its images.
            decoded_as: see :func:`fingerprint`.
            validates: whether a fit validates on val.
        """
        checksums = checksums_of(images)
        self._validates = validates
        self._prints[split] = fingerprint(images, decoded_as, checksums)
        if split == "train":
            self._now = self._prints[split]
            self._compare()
            if checksums is not None:
                self._add(_sample_of(decoded_as, checksums))
        elif checksums is not None:
            self._measured[split] = decoded_as, checksums
            for seen in self._seen:
                self._tell(seen, split)

    def were_validated_on(self, split: str) -> bool | None:
        """Whether the run of the checkpoint validated on images of a split; None if that is not known."""
        state, now = self.state_dict(), self._prints.get(split)
        before = state["validated"]
        if before is None or now is None:
            return None
        if difference(before, now) is None:
            return True
        sample = state["validated_sample"]
        return None if sample is None else self._overlap(Seen(*sample), split) > 0

    def were_trained_on(self, split: str) -> bool:
        """Whether images of a split are known to be among those that the network was trained on."""
        return any(self._overlap(seen, split) for seen in self._seen)

    def _overlap(self, seen: Seen, split: str) -> int:
        decoded_as, checksums = self._measured.get(split, ("", torch.zeros(0, dtype=torch.int64)))
        return seen.overlap(checksums)[0] if decoded_as == seen.decoded_as else 0

    def _add(self, seen: Seen) -> None:
        if seen not in self._seen:
            self._seen.append(seen)
            for split in self._measured:
                self._tell(seen, split)

    def _tell(self, seen: Seen, split: str) -> None:
        decoded_as, checksums = self._measured[split]
        if decoded_as == seen.decoded_as:
            seen.tell(checksums, split)

    def check_unchanged(self, ckpt_path: object) -> None:
        """Check that an epoch that a checkpoint interrupted goes on with its training images.

        Raises:
            UserError: they are others.
        """
        if how := self._change():
            raise UserError(
                f"{ckpt_path} is from the middle of an epoch, which cannot continue with other training images "
                f"({how}): resume with those of its start, or from a whole epoch (--ckpt_path best)"
            )

    def _change(self) -> str | None:
        return difference(self._saved, self._now) if self._now and self._saved else None

    def _compare(self) -> None:
        if how := self._change():
            log_info(f"the training images are not those of the checkpoint: {how}")


def _sample_of(decoded_as: str, checksums: Tensor) -> Seen:
    distinct = checksums.unique()
    return Seen(decoded_as, distinct[:_SAMPLE].tolist(), len(distinct) <= _SAMPLE)


def _checksum(values: Tensor) -> int:
    return zlib.crc32(values.contiguous().numpy().data)
