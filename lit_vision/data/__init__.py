"""Labelled images as batches."""

from lit_vision.data.cifar10 import CIFAR10DataModule
from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.folder import ImageFolderDataModule
from lit_vision.data.hymenoptera import HymenopteraDataModule
from lit_vision.data.shapes import ShapesDataModule
from lit_vision.data.table import ImageTableDataModule

__all__ = [
    "CIFAR10DataModule",
    "HymenopteraDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "ImageTableDataModule",
    "ShapesDataModule",
]
