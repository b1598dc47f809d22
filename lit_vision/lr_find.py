from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.tuner import Tuner

from lit_vision.errors import UserError

_FEWEST = 20  # steps, of which the finder leaves out ten


class TuningTrainer(Trainer):
    """Customize every aspect of training."""  # stands in --help; what it adds is a method that can be a subcommand

    def lr_find(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        min_lr: float = 1e-6,
        max_lr: float = 1.0,
        num_training: int = 100,
    ) -> Any:
        """Try learning rates, suggest one, and draw the loss over them.

        Args:
            model: LightningModule to train, which is left as it was.
            datamodule: its data.
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
        return Tuner(self).lr_find(
            model, datamodule=datamodule, min_lr=min_lr, max_lr=max_lr, num_training=num_training, update_attr=False
        )


setattr(TuningTrainer, "lr-find", TuningTrainer.lr_find)  # LightningCLI's subcommands are methods of that very name


def save_plot(finder: Any, path: Path) -> None:
    """Draw what the finder found as a PNG.

    Args:
        finder: what :meth:`TuningTrainer.lr_find` gave.
        path: of the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    finder.plot(suggest=True, ax=figure.subplots())
    figure.savefig(path, dpi=120)
