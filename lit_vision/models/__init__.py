"""Image classifiers."""

from lit_vision.models.classifier import Classifier
from lit_vision.models.predictor import Predictor
from lit_vision.models.small_cnn import SmallCNN
from lit_vision.models.transfer import TransferClassifier
from lit_vision.models.whitened_cnn import WhitenedCNN

__all__ = ["Classifier", "Predictor", "SmallCNN", "TransferClassifier", "WhitenedCNN"]
