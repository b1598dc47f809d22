"""Image classifiers."""

from lit_vision.models.classifier import Classifier
from lit_vision.models.small_cnn import SmallCNN

__all__ = ["Classifier", "SmallCNN"]
