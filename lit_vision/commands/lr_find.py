import math
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.tuner import Tuner
from torch import Tensor

from lit_vision.errors import UserError

_FEWEST = 20  # steps
_BETA = 0.98  # of the running mean, Lightning's
_SIGNIFICANT = 4  # standard deviations that a fall must have, since it is the largest of many


class TuningTrainer(Trainer):
    """Customize every aspect of training."""  # stands in --help; what it adds is a method that can be a subcommand

    def lr_find(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        min_lr: float = 1e-4,
        max_lr: float = 1.0,
        num_training: int = 1000,
    ) -> Any:
        """Try learning rates, suggest one, and draw the loss over them.

        Args:
            model: LightningModule to train, which is left as it was.
            datamodule: its data, of which it sees whole images alone.
            min_lr: the first learning rate.
            max_lr: the last one.
            num_training: steps, each with a higher rate than the one before.
        """
        if num_training < _FEWEST:
            raise UserError(f"num_training {num_training} is too small: give at least {_FEWEST} with --num_training")
        if self.fast_dev_run:  # type: ignore[attr-defined]
            raise UserError("a fast_dev_run finds no learning rate: leave --trainer.fast_dev_run out")
        if not 0 < min_lr < max_lr:
            raise UserError(f"from min_lr {min_lr} to max_lr {max_lr} no rate rises: change --min_lr or --max_lr")
        crop_epochs, data = getattr(datamodule, "crop_epochs", 0), cast(Any, datamodule)
        data.crop_epochs = 0  # the loss of whole images and of crops are two curves
        try:
            return Tuner(self).lr_find(
                model,
                datamodule=datamodule,
                min_lr=min_lr,
                max_lr=max_lr,
                num_training=num_training,
                early_stop_threshold=None,  # it is compared with a first loss that Lightning halves
                update_attr=False,
            )
        finally:
            data.crop_epochs = crop_epochs


setattr(TuningTrainer, "lr-find", TuningTrainer.lr_find)  # LightningCLI's subcommands are methods of that very name


class Finding(NamedTuple):
    """What a search found.

    Attributes:
        rates: (n,) float64, the learning rates that were tried.
        losses: (n,) float64, of one batch with each.
        trend: (m,) float64, their mean over a tenth of the steps, without those at both ends that have fewer.
        suggestion: of a rate: where the trend falls fastest over the rate's logarithm; None where its falls are noise.
    """

    rates: Tensor
    losses: Tensor
    trend: Tensor
    suggestion: float | None

    @classmethod
    def of(cls, finder: Any) -> "Finding":
        """Read what :meth:`TuningTrainer.lr_find` gave.

        Lightning keeps a running mean, which is mostly noise in its first steps, halves the first loss (it counts one
        step too many to take out the mean's bias), and suggests a rate by the slope over the rate itself, which is
        steepest among the smallest.
        """
        smoothed = torch.tensor(finder.results["loss"], dtype=torch.float64)
        smoothed = smoothed[smoothed.isfinite()]  # of a rate that is far too high the loss is none
        if not len(smoothed):
            return cls(smoothed, smoothed, smoothed, None)
        count = torch.arange(2, len(smoothed) + 2, dtype=torch.float64)
        mean = smoothed * (1 - _BETA**count)
        losses = (mean - _BETA * torch.cat([mean.new_zeros(1), mean[:-1]])) / (1 - _BETA)
        rates = torch.tensor(finder.results["lr"], dtype=torch.float64)[: len(losses)]
        window = max(1, len(losses) // 10)
        trend = losses.unfold(0, window, 1).mean(1)
        # over the width of the window, so that no loss counts in both of the means that are compared
        fall = trend[:-window] - trend[window:]
        if not len(fall):
            return cls(rates, losses, trend, None)
        most, where = fall.max(0)
        at = int(where) + window
        noise = (losses[1:] - losses[:-1])[at - window : at + window].std() / math.sqrt(window)
        return cls(rates, losses, trend, rates[at - 1].item() if most > _SIGNIFICANT * noise + 1e-6 else None)

    def draw(self, path: Path) -> None:
        """Draw the losses over the rates as a PNG."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        start = (len(self.losses) - len(self.trend)) // 2
        axes.plot(self.rates.tolist(), self.losses.tolist(), alpha=0.3, label="loss of a batch")
        axes.plot(
            self.rates[start : start + len(self.trend)].tolist(), self.trend.tolist(), color="#1f77b4", label="mean"
        )
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.grid(alpha=0.3)
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="#cf222e", linestyle="--", label=f"suggestion {self.suggestion:.2g}")
        axes.legend()
        figure.savefig(path, dpi=120)
