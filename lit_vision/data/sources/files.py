"""The base of data modules whose images are files: folders of images, and tables."""

import os
import unicodedata
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import torch
from typing_extensions import override

from lit_vision.data.batch import LabelledImages
from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.decoding import ImageError, read_image
from lit_vision.data.image_names import file_name
from lit_vision.data.images import ImageFiles
from lit_vision.data.layout import SPLITS
from lit_vision.data.listing import FileId, LeftOut, summarize
from lit_vision.errors import UserError
from lit_vision.utils.text import class_name, printable

_SAMPLED = 64  # training images by which a data set is known again, wherever it was moved


class Entry(NamedTuple):
    """An image in a listing.

    Attributes:
        path: the file.
        class_name: name of its class, printable.
        key: names the image independently of all others: its path below the folder of its split, or in a table. The
            choice of held-out images depends on it alone.
        place: where it is listed, for messages, such as ``images.csv line 3``.
        file_id: equal for two entries of the same file.
    """

    path: str
    class_name: str
    key: str
    place: str
    file_id: FileId


class Listing(NamedTuple):
    """All images of a data set.

    Attributes:
        splits: the images of each split that exists, of train, val and test, in this order.
        left_out: files that are not used.
        whole: whether nothing in the data says which split an image is in, so that all are in train.
    """

    splits: dict[str, list[Entry]]
    left_out: list[LeftOut]
    whole: bool


class FileDataModule(ImageDataModule):
    """A data module whose images are files: a subclass lists them.

    Args:
        root: Folder of the data; by default $LIT_VISION_DATA, or ./data if that is not set.
        splits: What stands for train, val and test in the data, if the usual names do not, such as
            '{train: 2023, test: 2024}'. Splits that are not named are not used.
        classes: Names of the classes, in the order of the labels; by default those of train in alphabetical order. To
            evaluate a network, the command line takes them from the checkpoint.
        kwargs: Options of ImageDataModule.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        splits: dict[str, str | int] | None = None,
        classes: Sequence[str | int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        if splits is not None and (unknown := sorted(set(splits) - set(SPLITS))):
            raise UserError(f"splits has the key {unknown[0]!r}: use train, val and test in --data.splits")
        if classes is not None and len(set(classes)) < len(classes):
            raise UserError("classes has a name twice: give every class another name in --data.classes")
        # a word that looks like a number is one in YAML
        self.splits = None if splits is None else {split: str(word) for split, word in splits.items()}
        self.classes = None if classes is None else [class_name(str(name)) for name in classes]
        self._trained_on: list[list[tuple[int, int]]] = []  # samples of earlier runs: id and size in bytes
        self._sample: list[tuple[int, int]] = []

    @abstractmethod
    def read_listing(self) -> Listing:
        """List the images of all splits.

        Raises:
            UserError: the data is missing, or it is not clear what is meant.
        """

    @cached_property
    def listing(self) -> Listing:
        """The images of all splits, each in one class and one split.

        Raises:
            UserError: see :meth:`read_listing`; or an image has two classes, or is in two splits.
        """
        listing = self._without_excluded(self.read_listing())
        seen: dict[FileId, tuple[str, Entry]] = {}
        for split, entries in listing.splits.items():
            for entry in entries:
                other_split, other = seen.setdefault(entry.file_id, (split, entry))
                if other is not entry:
                    what = f"classes, {other.class_name} and {entry.class_name}"
                    if split != other_split:
                        what = f"splits, {other_split} and {split}"
                    raise UserError(f"one image is in two {what}: remove {other.place} or {entry.place}")
        return listing

    def _without_excluded(self, listing: Listing) -> Listing:
        if not self.exclude.names:
            return listing
        names = {entry.path: file_name(entry.path, self.root) for split in listing.splits.values() for entry in split}
        self.exclude.check_known(names.values())
        kept = {
            split: [entry for entry in entries if names[entry.path] not in self.exclude.names]
            for split, entries in listing.splits.items()
        }
        left_out = [LeftOut(path, "excluded") for path, name in names.items() if name in self.exclude.names]
        return Listing(
            {split: found for split, found in kept.items() if found}, [*listing.left_out, *left_out], listing.whole
        )

    @override
    def used(self, split: str) -> LabelledImages:
        return self.load(split)  # the listing has left images out

    @cached_property
    @override
    def class_names(self) -> list[str]:
        """The classes that were given, otherwise those of train."""
        if self.classes is not None:
            return self.classes
        if "train" not in self.listing.splits:
            raise UserError(self.without_train())
        names = sorted({entry.class_name for entry in self.listing.splits["train"]})
        if len(names) < 2:
            raise UserError(
                f"{printable(str(self.source))} has one class, {names[0]!r}, in train: add training images of two or "
                "more classes"
            )
        return names

    @property
    @override
    def split_names(self) -> list[str]:
        return list(self.listing.splits)

    @property
    def source(self) -> Path:
        """What lists the images: a folder or a table."""
        return self.root

    def without_train(self) -> str:
        """Say in one line that there are no training images, and what to do."""
        return f"{printable(str(self.source))} has no images in train: add some, or set --data.splits"

    @cached_property
    @override
    def native_size(self) -> int:
        """Side in pixels of the first image that can be read."""
        for path in (entry.path for entries in self.listing.splits.values() for entry in entries):
            with suppress(ImageError):  # which all such images are named in, once they are decoded
                height, width = read_image(path).shape[1:]
                break
        else:
            raise UserError(f"{printable(str(self.source))} has no image that can be read: repair or replace them")
        if height != width:
            raise UserError(
                f"{printable(path)} is {width}x{height} pixels, not square: set --data.image_size to resize all images"
            )
        return height

    def paths(self, split: str) -> list[Path]:
        """The files of a split, in the order of their index in batches."""
        return [Path(path) for path in self._paths(split)]

    def _paths(self, split: str) -> list[str]:
        return [entry.path for entry in self.listing.splits[split]]

    @override
    def load(self, split: str) -> LabelledImages:
        """Load a split; its images are decoded when they are asked for.

        Raises:
            UserError: the split has an image of another class.
        """
        entries = self.listing.splits[split]
        labels = {name: label for label, name in enumerate(self.class_names)}
        for entry in entries:
            if entry.class_name not in labels:
                whose = "that train lacks" if self.classes is None else f"other than {', '.join(self.class_names[:10])}"
                raise UserError(
                    f"{entry.place} has a label {whose}, {entry.class_name!r}: remove it, or correct its label"
                )
        images = ImageFiles(self._paths(split), self.image_size, self.resize if self.resizes else None, self.decoding)
        hashes = [_hash(entry.key) for entry in entries]
        ids = torch.tensor(hashes)
        if split == "train":
            chosen = sorted(zip(hashes, self._paths(split), strict=True))[:_SAMPLED]
            self._sample = [(image, os.path.getsize(path)) for image, path in chosen]
        return LabelledImages(images, torch.tensor([labels[entry.class_name] for entry in entries]), ids)

    @override
    def left_out(self) -> str:
        return summarize(self.listing.left_out, self.root)

    @override
    def evaluation_split(self, split: str) -> str | None:
        """All images, if nothing says which split they are in, and the network was not trained on them."""
        if self.listing.whole and self._trained_on and not self._was_trained_on():
            return "train"
        return super().evaluation_split(split)

    def _was_trained_on(self) -> bool:
        """Whether most of the images that a sample of the training images names are among these."""
        paths = {_hash(entry.key): entry.path for entry in self.listing.splits.get("train", [])}
        for sample in self._trained_on:
            same = [image for image, size in sample if image in paths and os.path.getsize(paths[image]) == size]
            if 2 * len(same) > len(sample):
                return True
        return False

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what the base class does, and samples of the images that the run was trained on."""
        new = [self._sample] if self._sample and self._sample not in self._trained_on else []
        return {**super().state_dict(), "samples": [*self._trained_on, *new]}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._trained_on = [[(image, size) for image, size in sample] for sample in state_dict.get("samples", [])]
        super().load_state_dict(state_dict)


def _hash(key: str) -> int:
    """Hash a key to an int64. The same name may be composed or decomposed, as the file systems of Macs have it."""
    normal = (key if key.isascii() else unicodedata.normalize("NFC", key)).encode("utf-8", "surrogateescape")
    digest = blake2b(normal, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
