"""Image classifiers."""

from lit_vision.models.classifier import Classifier
from lit_vision.models.modules import InputSpec
from lit_vision.models.networks import pretrained_input
from lit_vision.models.predictor import Prediction, Predictor, predictions
from lit_vision.models.small_cnn import SmallCNN
from lit_vision.models.transfer import TransferClassifier
from lit_vision.models.whitened_cnn import WhitenedCNN

__all__ = [
    "Classifier",
    "InputSpec",
    "Prediction",
    "Predictor",
    "SmallCNN",
    "TransferClassifier",
    "WhitenedCNN",
    "predictions",
    "pretrained_input",
]
