"""Labelled images as batches."""

from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.sources.cifar10 import CIFAR10DataModule
from lit_vision.data.sources.folder import ImageFolderDataModule
from lit_vision.data.sources.hymenoptera import HymenopteraDataModule
from lit_vision.data.sources.shapes import ShapesDataModule
from lit_vision.data.sources.table import ImageTableDataModule

__all__ = [
    "CIFAR10DataModule",
    "HymenopteraDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "ImageTableDataModule",
    "ShapesDataModule",
]
