"""The images that the benchmark measures with: real ones, or made ones of the same sizes."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lit_vision.data import CIFAR10DataModule, ImageFolderDataModule, ShapesDataModule


def prepare(data: Path | None, cifar: int, pictures: int, photos: int, large: int, folder: Path) -> tuple[Any, ...]:
    """Find the images, or make images of the same sizes.

    Args:
        data: folder with hymenoptera_data and either cifar-10-batches-py or cifar10/SPLIT/CLASS/*; None makes images.
        cifar: see Options in benchmark.py; cifar-10-batches-py is always taken whole.
        pictures: see Options in benchmark.py.
        photos: see Options in benchmark.py.
        large: see Options in benchmark.py.
        folder: folder for the links and files that are made.

    Returns:
        The fields of Data in benchmark.py.
    """
    module: Any
    sizes = {"train": 10 * cifar, "val": 2 * cifar}
    if data is None:
        module = ShapesDataModule(train_size=sizes["train"], test_size=sizes["val"], val_size=0, seed=0)
        arguments = ["--data", "ShapesDataModule", "--data.train_size", str(sizes["train"])]
        arguments += ["--data.test_size", str(sizes["val"])]
    elif (data / "cifar10").is_dir():
        for split, count in (("train", cifar), ("test", cifar // 5)):
            _link(data / "cifar10" / split, folder / "cifar10" / split, count)
        module = ImageFolderDataModule(root=folder / "cifar10", image_size=32)
        arguments = ["--data", "ImageFolderDataModule", "--data.root", str(module.root), "--data.image_size", "32"]
    else:
        module = CIFAR10DataModule(root=data, val_size=0)
        module.prepare_data()
        arguments = ["--data.root", str(data)]
    module.setup("fit")
    loaders = {"train": module.train_dataloader(), "val": module.val_dataloader()}
    batches = {split: loader.take(torch.arange(len(loader.labels))) for split, loader in loaders.items()}
    torch.save({split: (batch.image, batch.label) for split, batch in batches.items()}, folder / "splits.pt")
    _write(batches["val"].image[:photos], batches["val"].label[:photos], folder / "photos")
    for split, size in (("train", 244), ("val", 153)):
        if data is None:
            count = min(size, 2 * pictures)
            made = torch.randint(256, (count, 3, 375, 500), dtype=torch.uint8)
            _write(made, torch.arange(count) % 2, folder / "ants_bees" / split)
        else:
            _link(data / "hymenoptera_data" / split, folder / "ants_bees" / split, pictures)
    _enlarge(folder / "ants_bees" / "train", folder / "large" / "train", large)
    return arguments, *(folder / name for name in ("splits.pt", "ants_bees", "photos", "large", "cache"))


def _enlarge(source: Path, target: Path, count: int) -> None:
    """Write the first ``count`` images as photos of 12 megapixels, half of them of each class."""
    for images in filter(Path.is_dir, source.iterdir()):
        (target / images.name).mkdir(parents=True)
        for file in sorted(images.iterdir())[: count // 2]:
            photo = Image.open(file).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
            photo.save(target / images.name / f"{file.stem}.jpg", quality=90)


def _link(source: Path, target: Path, count: int) -> None:
    """Link the first ``count`` images of each class."""
    for images in filter(Path.is_dir, source.iterdir()):
        (target / images.name).mkdir(parents=True)
        for file in sorted(images.iterdir())[:count]:
            (target / images.name / file.name).symlink_to(file.resolve())


def _write(images: Tensor, labels: Tensor, folder: Path) -> None:
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        target = folder / str(label)
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(target / f"{number}.jpg")
