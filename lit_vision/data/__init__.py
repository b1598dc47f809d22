"""Labelled images as batches."""

from lit_vision.data.cifar10 import CIFAR10DataModule
from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.folder import ImageFolderDataModule
from lit_vision.data.shapes import ShapesDataModule

__all__ = ["CIFAR10DataModule", "ImageDataModule", "ImageFolderDataModule", "ShapesDataModule"]
