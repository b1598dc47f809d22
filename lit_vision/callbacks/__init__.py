"""Callbacks that watch a run: they write checkpoints, metrics, pictures and reports, and stop it if necessary."""

from lit_vision.callbacks.calibrate import Calibrate
from lit_vision.callbacks.checkpoint import BestAndLast
from lit_vision.callbacks.config_file import ConfigFile
from lit_vision.callbacks.cpu_threads import OneThreadForSmallBatches
from lit_vision.callbacks.epoch_log import EpochLog
from lit_vision.callbacks.finite_loss import TerminateOnNaN
from lit_vision.callbacks.layer_table import LayerTable
from lit_vision.callbacks.patience import Patience
from lit_vision.callbacks.pictures import Pictures
from lit_vision.callbacks.progress import EpochBar
from lit_vision.callbacks.provenance import Provenance
from lit_vision.callbacks.report import TestReport, ValidationReport
from lit_vision.callbacks.run_folder import RunFolder
from lit_vision.callbacks.tensorboard import TensorBoardSummary

__all__ = [
    "BestAndLast",
    "Calibrate",
    "ConfigFile",
    "EpochBar",
    "EpochLog",
    "LayerTable",
    "OneThreadForSmallBatches",
    "Patience",
    "Pictures",
    "Provenance",
    "RunFolder",
    "TensorBoardSummary",
    "TerminateOnNaN",
    "TestReport",
    "ValidationReport",
]
