import math
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor
from typing_extensions import override

from lit_vision.callbacks import OneThreadForSmallBatches
from lit_vision.commands import COMMANDS
from lit_vision.errors import UserError
from lit_vision.models import Classifier, TransferClassifier
from lit_vision.optim import set_lr
from lit_vision.parsing.help import wants_help
from lit_vision.parsing.vision_cli import VisionCLI
from lit_vision.plots import plot_rate_search
from lit_vision.runs import LR_FIND
from lit_vision.trainer.errors import explain_compile_errors
from lit_vision.trainer.factory import as_list, make_evaluation_trainer
from lit_vision.utils.files import ensure_writable

_MIN_STEPS = 20
_MIN_DEVIATIONS = 4  # standard deviations of the noise; many, since the steepest descent is the largest of many


class RateSearch(Callback):
    """Raises the learning rate from step to step, and records the loss of each batch.

    Args:
        min_lr: learning rate of the first step.
        max_lr: learning rate of the last step.
        num_training: number of steps.
    """

    def __init__(self, min_lr: float, max_lr: float, num_training: int) -> None:
        self.rates = torch.logspace(math.log10(min_lr), math.log10(max_lr), num_training, dtype=torch.float64)
        self._losses: list[Tensor] = []

    @property
    def losses(self) -> Tensor:
        """(n,) float64: the losses before the first that is NaN or infinite."""
        losses = torch.stack(self._losses).double().cpu() if self._losses else torch.empty(0, dtype=torch.float64)
        return losses[: int(losses.isfinite().long().cumprod(0).sum())]

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if isinstance(pl_module, Classifier):
            pl_module.hparams["schedule"] = "constant"  # otherwise a schedule would set the rate after this callback
            pl_module.hparams["lr"] = self.rates[0].item()  # one rate for all layers, as --model.lr will set it
        if isinstance(pl_module, TransferClassifier):
            pl_module.hparams["unfreeze_at"] = 0  # the rate is searched for all layers that will be trained

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        set_lr(trainer.optimizers[0], self.rates[len(self._losses)].item())

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"].detach().clone())


class SearchResult(NamedTuple):
    """The result of a search.

    Attributes:
        rates: (n,) float64, the learning rates that gave these losses.
        losses: (n,) float64, the loss of one batch at each rate.
        trend: (m,) float64, the mean loss over a tenth of the steps; m <= n, since the ends have no whole window.
        suggestion: the learning rate at which the trend falls most steeply over the logarithm of the rate; None if no
            fall stands out from the noise.
    """

    rates: Tensor
    losses: Tensor
    trend: Tensor
    suggestion: float | None


def analyse(rates: Tensor, losses: Tensor) -> SearchResult:
    """Suggest a learning rate.

    Lightning's own suggestion uses the slope over the rate itself, which is steepest among the smallest rates.

    Args:
        rates: (n,) float64, learning rates that rise by the same factor from step to step.
        losses: (k,) float64 with k <= n, the loss of one batch at each of the first rates.
    """
    rates = rates[: len(losses)]
    if not len(losses):
        return SearchResult(rates, losses, losses, None)
    window = max(1, len(losses) // 10)
    trend = losses.unfold(0, window, 1).mean(1)
    descent = trend[:-window] - trend[window:]  # over the width of the window, so that no loss counts in both means
    if not len(descent):
        return SearchResult(rates, losses, trend, None)
    steepest, where = descent.max(0)
    at = int(where) + window
    noise = (losses[1:] - losses[:-1])[at - window : at + window].std() / math.sqrt(window)
    stands_out = steepest > _MIN_DEVIATIONS * noise + 1e-6
    return SearchResult(rates, losses, trend, rates[at - 1].item() if stands_out else None)


class RateSearchCLI(VisionCLI):
    """The run of ``lit-vision lr-find``, which writes no logs and no checkpoints."""

    command = "lr-find"
    default_config = "shapes.yaml"

    @override
    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_default_arguments_to_parser(parser)
        parser.add_argument("--min_lr", type=float, default=1e-4, help="Learning rate of the first step.")
        parser.add_argument("--max_lr", type=float, default=1.0, help="Learning rate of the last step.")
        parser.add_argument("--num_training", type=int, default=1000, help="Number of steps.")

    @override
    def before_instantiate_classes(self) -> None:
        config = self.config
        if config.num_training < _MIN_STEPS:
            steps = f"num_training {config.num_training} is too small"
            raise UserError(f"{steps}: set --num_training to {_MIN_STEPS} or more")
        if config.trainer.fast_dev_run:
            raise UserError("a fast_dev_run finds no learning rate: leave --trainer.fast_dev_run out")
        if not 0 < config.min_lr < config.max_lr:
            rates = f"min_lr {config.min_lr} must be above 0 and below max_lr {config.max_lr}"
            raise UserError(f"{rates}: change --min_lr or --max_lr")
        if config.ckpt_path is not None:
            raise UserError("lr-find starts from new weights: leave --ckpt_path out, or set --model.weights to a file")
        super().before_instantiate_classes()

    @override
    def make_trainer(self, options: dict[str, Any]) -> Trainer:
        config = self.config
        self.search = RateSearch(config.min_lr, config.max_lr, config.num_training)
        callbacks = [*as_list(options["callbacks"]), self.search, OneThreadForSmallBatches()]
        quiet = {"logger": False, "enable_model_summary": False, "limit_val_batches": 0, "num_sanity_val_steps": 0}
        length = {"max_epochs": -1, "max_steps": config.num_training, "accumulate_grad_batches": 1}
        return make_evaluation_trainer(**{**options, **quiet, **length, "callbacks": callbacks})


def lr_find(words: list[str]) -> None:
    """Try rising learning rates, print the one at which the loss falls fastest, and draw the losses.

    Args:
        words: the command line after ``lr-find``.
    """
    if wants_help("lr-find", COMMANDS["lr-find"].summary, words):
        return
    run = RateSearchCLI(words)
    plot = run.logs / run.config.name / LR_FIND
    ensure_writable(plot.parent, "--trainer.default_root_dir")
    with explain_compile_errors(), run.datamodule.whole_images():  # crops would have a loss curve of their own
        run.trainer.fit(run.model, run.datamodule)
    result = analyse(run.search.rates, run.search.losses)
    if run.trainer.is_global_zero:
        plot_rate_search(*result, plot)
    if result.suggestion is None:
        reason = f"no fall of the loss stands out from the noise, see {plot}"
        raise UserError(f"{reason}: raise --num_training, or change --max_lr")
    if run.trainer.is_global_zero:
        print(f"\nsuggestion {result.suggestion:.2g}, see {plot}")
        print(f"next       lit-vision fit with the same options and --model.lr {result.suggestion:.2g}")
