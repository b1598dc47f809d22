"""Which splits and which classes a folder of images has, from its structure and the usual names of splits."""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from lit_vision.data.listing import Folder, LeftOut, list_folder
from lit_vision.errors import UserError
from lit_vision.utils.text import class_name, printable

SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""The splits, each with its usual names in lower case."""

_USUAL = {split: re.compile(f"({'|'.join(names)})([ _-]?set)?", re.IGNORECASE) for split, names in SPLITS.items()}
_WORDS = {name: split for split, names in SPLITS.items() for name in names}


class Layout(NamedTuple):
    """The classes of each split.

    Attributes:
        splits: the folder of each class by its name, for each split that exists, of train, val and test in this order.
        left_out: the files and folders that are not used.
        whole: whether there are no folders of splits, so that all images are in train.
        empty: the folders of classes in train that hold no file at all.
    """

    splits: dict[str, dict[str, Folder]]
    left_out: list[LeftOut]
    whole: bool
    empty: list[str]


def split_of(name: str) -> str | None:
    """The split that a name usually stands for, in any case: train, val or test; None for other names."""
    return next((split for split, usual in _USUAL.items() if usual.fullmatch(name.strip())), None)


def read_layout(root: Path, splits: Mapping[str, str] | None = None, classes: Collection[str] = ()) -> Layout:
    """Find the splits and the classes of a folder.

    The images are in root/SPLIT/CLASS/*, or without splits in root/CLASS/*, or in folders below CLASS. All this may be
    in one more folder, as archives unpack it: root/NAME/SPLIT/CLASS. So may a split: root/train/train/CLASS.

    A folder is a split if it has a usual name of one, and folders of images in it. A folder ``train`` that has no
    folders is a class, because the class folders beside it are what there is to train on.

    Args:
        root: the folder.
        splits: the folder of each split, relative to root; None to go by the usual names. "." stands for root, without
            the folders of other splits.
        classes: names that are known to be classes, such as those of a checkpoint.

    Raises:
        UserError: root is not a folder, a folder of ``splits`` does not exist, or root can be read in two ways.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"{printable(str(root))} {problem}: set --data.root to the folder of the images")
    top = list_folder(root)
    found = _unwrap(top, None, classes)
    if splits is not None:
        folders = {split: _folder_at(top, splits[split], split) for split in SPLITS if split in splits}
    else:
        named = _find_splits(found, classes)
        folders = {split: _unwrap(named[split], split, classes) for split in SPLITS if split in named}
    chosen = {folder.path for folder in folders.values()}
    parents = folders or {"train": found}
    layout = {split: _class_folders(folder, chosen) for split, folder in parents.items()}
    left_out = _left_out(top, parents.values(), layout.values())
    train = parents["train"].folders if "train" in parents else []
    empty = [folder.path for folder in train if not any(inner.images or inner.left_out for inner in folder.walk())]
    return Layout(layout, left_out, not folders, [path for path in empty if path not in chosen])


def _with_images(folder: Folder) -> list[Folder]:
    return [inner for inner in folder.folders if inner.has_images()]


def _unwrap(folder: Folder, split: str | None, classes: Collection[str]) -> Folder:
    """Step into the only folder of a split, or of root with ``split`` None, if that is where the rest stands."""
    inner = _with_images(folder)
    if len(inner) != 1 or inner[0].images or class_name(inner[0].name) in classes:
        return folder
    name = inner[0].name
    if split is None:
        return folder if split_of(name) else inner[0]
    return inner[0] if split_of(name) == split or name.lower() == folder.name.lower() else folder


def _find_splits(base: Folder, classes: Collection[str]) -> dict[str, Folder]:
    """Find the folders of splits; {} if the folders are classes."""
    splits: dict[str, Folder] = {}
    without_classes: list[Folder] = []
    others: list[Folder] = []
    for folder in _with_images(base):
        split = split_of(folder.name)
        if split is None or (not _with_images(folder) and class_name(folder.name) in classes):
            others.append(folder)
        elif not _with_images(folder):
            without_classes.append(folder)
        elif split in splits:
            _refuse(base, f"two folders for {split}, {_names([splits[split], folder])}", {split: folder})
        else:
            splits[split] = folder
    if splits:
        if others and not ("train" in splits and len(splits) > 1):
            _refuse(base, f"the split {_names(splits.values())}, and beside it {_names(others)}", splits)
        return splits
    if guess := _similar_to_splits(others):
        _refuse(base, f"{_names(guess.values())}, which may be splits or classes", guess)
    if without_classes and (not others or [split_of(folder.name) for folder in without_classes] != ["train"]):
        _refuse(base, f"{_names(without_classes)} without class folders in it", {"train": "."} if others else {})
    for folder in others:
        inner = [part for part in _with_images(folder) if split_of(part.name)]
        if len({split_of(part.name) for part in inner}) > 1:
            _refuse(base, f"splits inside of a class, {printable(folder.name)}/{_names(inner)}", {})
    return {}


def _similar_to_splits(folders: Iterable[Folder]) -> dict[str, Folder]:
    """Folders with class folders in them, whose names have the name of a split as one of their words."""
    guess: dict[str, Folder] = {}
    for folder in folders:
        if _with_images(folder):
            words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", folder.name).lower())
            guess |= {_WORDS[word]: folder for word in words if word in _WORDS}
    return guess


def _refuse(base: Folder, seen: str, guess: Mapping[str, Folder | str]) -> NoReturn:
    root = printable(base.path)
    if not guess:
        raise UserError(f"{root} has {seen}: sort the images into SPLIT/CLASS/*, or list them in a table")
    named = {split: part if isinstance(part, str) else printable(part.name) for split, part in guess.items()}
    meant = ", ".join(f"{split}: {named[split]}" for split in SPLITS if split in named)
    raise UserError(f"{root} has {seen}: say what is meant, such as --data.splits '{{{meant}}}'")


def _names(folders: Iterable[Folder]) -> str:
    names = [printable(folder.name) for folder in folders]
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _folder_at(top: Folder, path: str, split: str) -> Folder:
    folder = top
    for name in Path(os.path.normpath(path)).parts:
        inner = next((inner for inner in folder.folders if inner.name == name), None)
        if inner is None:
            root = printable(top.path)
            raise UserError(f"{root} has no folder {printable(path)}: name folders below it in --data.splits")
        folder = inner
    return folder if folder is top else _unwrap(folder, split, ())


def _class_folders(parent: Folder, splits: Collection[str]) -> dict[str, Folder]:
    """The folders of classes by their names; folders of other splits, which ``splits`` has the paths of, are none."""
    folders: dict[str, Folder] = {}
    for folder in _with_images(parent):
        name = class_name(folder.name)
        if name in folders:
            raise UserError(f"{printable(parent.path)} has two folders that read {name}: rename one of them")
        if folder.path not in splits:
            folders[name] = folder
    return dict(sorted(folders.items()))


def _left_out(top: Folder, parents: Iterable[Folder], classes: Iterable[Mapping[str, Folder]]) -> list[LeftOut]:
    """Account for all that is below the top folder and not used."""
    left_out = [left for folder in top.walk() for left in folder.left_out]
    used = set()
    for folder in (folder for part in classes for folder in part.values()):
        paths = {image.path for image in folder.all_images()}
        reached = {image.path for inner in folder.walk() for image in inner.images}
        left_out += [LeftOut(path, "links to images that are there anyway") for path in sorted(reached - paths)]
        used |= reached
    found = sorted(image.path for folder in top.walk() for image in folder.images)
    left_out += [LeftOut(path, "images outside of the class folders") for path in found if path not in used]
    empty = (inner for parent in parents for inner in parent.folders if not inner.has_images())
    return left_out + [LeftOut(inner.path, "folders without images") for inner in empty]
