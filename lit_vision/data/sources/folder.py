import os

from typing_extensions import override

from lit_vision.data.layout import read_layout, split_of
from lit_vision.data.listing import Folder, LeftOut
from lit_vision.data.sources.files import Entry, FileDataModule, Listing
from lit_vision.errors import UserError
from lit_vision.utils.text import printable


class ImageFolderDataModule(FileDataModule):
    """Images sorted into folders, one folder for each class.

    The images are in root/train/CLASS/*, root/val/CLASS/* and root/test/CLASS/*, of which only train is needed, or in
    root/CLASS/*, from which val_size holds some out for validation. Other usual names of splits are known, in any
    case: training, valid, validation, testing. The options are those of FileDataModule.
    """

    foreign_files: frozenset[str] = frozenset()
    """Names of files that do not belong to the data set."""

    @override
    def read_listing(self) -> Listing:
        layout = read_layout(self.root, self.splits, self.classes or ())
        if self.classes is None and layout.empty and layout.splits["train"]:
            raise UserError(f"{printable(layout.empty[0])} has no images: add some, or remove the folder")
        left_out = list(layout.left_out)
        splits: dict[str, list[Entry]] = {}
        for split, classes in layout.splits.items():
            entries = [entry for name, folder in classes.items() for entry in _entries(name, folder)]
            foreign = [entry for entry in entries if os.path.basename(entry.path) in self.foreign_files]
            left_out += [LeftOut(entry.path, "files that do not belong to the data set") for entry in foreign]
            splits[split] = [entry for entry in entries if entry not in foreign] if foreign else entries
        return Listing({split: found for split, found in splits.items() if found}, left_out, layout.whole)

    @override
    def without_train(self) -> str:
        root = printable(str(self.root))
        if found := " and ".join(self.listing.splits):
            return f"{root} has folders for {found}, but none named train: add one, or name it with --data.splits"
        inner = next((path for path in sorted(self.root.iterdir()) if split_of(path.name) == "train"), self.root)
        return f"{printable(str(inner))} has no class folders: add a folder of images for each of two or more classes"


def _entries(class_name: str, folder: Folder) -> list[Entry]:
    """List the images of a class; their keys begin with its folder."""
    above = len(folder.path) - len(folder.name)
    return [
        Entry(image.path, class_name, image.path[above:].replace("\\", "/"), printable(image.path), image.file_id)
        for image in folder.all_images()
    ]
