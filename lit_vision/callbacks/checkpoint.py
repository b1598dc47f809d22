"""The two checkpoints of a run, best.ckpt and last.ckpt, and the end of a run that was asked to stop."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT
from typing_extensions import override

from lit_vision.callbacks.signals import SignalWatch
from lit_vision.data.datamodule import image_data
from lit_vision.errors import TrainingInterrupted, UserError, check_at_least
from lit_vision.runs import LAST
from lit_vision.utils.lightning_compat import (
    CachedStateKey,
    EndOfFit,
    count_interrupted_epochs_once,
    is_within_epoch,
    may_stop_early,
    schedule_accumulation,
)

_MONITOR = "val/acc"
_SAVE_INTERVAL = 1.0  # seconds
_AGREE_EVERY = 10  # steps between two points where ranks agree on stopping and saving


class BestAndLast(CachedStateKey, ModelCheckpoint):
    """Writes checkpoints/best.ckpt of the best epoch, and checkpoints/last.ckpt after each epoch and at signals.

    If epochs are short, last.ckpt is written at most once a second, and always at the end of the run.

    On Ctrl-C or SIGTERM the run finishes its step, writes last.ckpt and stops. A signal during the last step of an
    epoch, or the validation after it, takes effect at the end of the epoch. Ranks agree on stopping every ten steps. A
    second signal stops the process at once. If the time of the run is up, or another callback sets
    ``Trainer.should_stop`` after a step, the run ends in the same way but without an error; Lightning would count the
    epoch as finished.

    A model that does not log val/acc has no best.ckpt, unless ``monitor`` names what it logs.

    Args:
        monitor: Metric that chooses the best epoch: val/acc, val/loss, val/f1 (the mean of the classes' F1 scores), or
            another that the model logs. The lowest is the best if its name ends in loss, otherwise the highest.
        patience: Number of validations without a better one after which the run ends; by default, none ends it.
        every_n_steps: Number of steps after which last.ckpt is also written within an epoch.
        every_n_minutes: Number of minutes after which last.ckpt is also written within an epoch.

    Raises:
        UserError: every_n_steps or every_n_minutes is not above 0.
    """

    def __init__(
        self,
        monitor: str = _MONITOR,
        patience: int | None = None,
        every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_n_minutes", every_n_minutes)):
            if value is not None and value <= 0:
                raise UserError(f"{name} {value} is too small: set --checkpoint.{name} to more than 0")
        check_at_least(1, "checkpoint", patience=patience)
        mode = "min" if monitor.endswith("loss") else "max"
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)
        self.patience = patience
        self.cache_state_key()
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self._signals = SignalWatch()
        self._stopping = 0  # the signal that all ranks stop for at the start of the next epoch
        self._ending = False  # a callback has asked for the end of the run
        self._epoch: dict[str, float] = {}  # what an epoch cannot go on without
        self._resumed_epoch: dict[str, float] = {}  # the same of the checkpoint
        self._step = 0  # the newest optimizer step
        self._agreed_step = 0  # the step at which ranks last compared their signals
        self._saved_at = float("-inf")
        self._saved_step = 0
        self._saved = False  # this run has written a last.ckpt
        self._saved_within_epoch = False  # the newest last.ckpt is from within an epoch

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "epoch": self._epoch}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the best checkpoint so far if it is in this run's folder, even if the folder was moved."""
        assert self.dirpath is not None
        self._resumed_epoch = state_dict.get("epoch", {})
        best = Path(self.dirpath) / Path(state_dict["best_model_path"]).name
        if not best.is_file():  # another run starts from this checkpoint, and finds a best of its own
            return
        here = {"dirpath": self.dirpath, "best_model_path": str(best), "kth_best_model_path": str(best)}
        best_k = {str(best): state_dict["best_model_score"]}
        super().load_state_dict({**state_dict, **here, "best_k_models": best_k})

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        count_interrupted_epochs_once(trainer)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._stopping, self._ending = 0, False
        schedule_accumulation(trainer)
        self._epoch = _epoch_of(trainer)
        if is_within_epoch(trainer):
            self._check_epoch(trainer.ckpt_path)
            if (data := image_data(trainer)) is not None:
                data.fingerprints.check_unchanged(trainer.ckpt_path)
        self._step = self._agreed_step = self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()
        self.last_model_path = str(trainer.ckpt_path or "")  # a resumed run can go back to it until it saves
        self._signals.start()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Save if last.ckpt is due, and stop here, between two steps, if asked to."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.should_stop and may_stop_early(trainer):
            self._ending, trainer.should_stop = True, False  # it ends below, or after the epoch or the validation
        if trainer.global_step == self._step:  # gradients are being accumulated, and checkpoints do not hold them
            return
        self._step = trainer.global_step
        if _ends_epoch_or_is_validated(trainer, batch_idx):
            return
        if self._ending:
            self._save_last(trainer)
            raise EndOfFit
        if trainer.world_size > 1:
            if self._step - self._agreed_step < _AGREE_EVERY:
                return
            self._agreed_step = self._step
        if signum := self._signals.agreed(trainer):
            self._save_last(trainer)
            raise TrainingInterrupted(signum)
        if self._is_due(trainer):
            self._save_last(trainer)
            self._saved_within_epoch = True

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if asked to by the end of the previous epoch, whose metrics are logged by now."""
        super().on_train_epoch_start(trainer, pl_module)
        self._epoch = _epoch_of(trainer)
        if self._stopping:
            raise TrainingInterrupted(self._stopping)
        if self._ending:
            raise EndOfFit

    def _check_epoch(self, ckpt_path: object) -> None:
        """Check that an epoch that a checkpoint interrupted has the steps that it had.

        Raises:
            UserError: it has not.
        """
        for name, ours in self._epoch.items():
            theirs = self._resumed_epoch.get(name, ours)
            if ours != theirs:
                raise UserError(
                    f"{ckpt_path} is from the middle of an epoch with {name} {theirs}, which cannot continue with "
                    f"{ours}: leave the options of --trainer as they were until the epoch is over"
                )

    def _is_due(self, trainer: Trainer) -> bool:
        every = self.every_n_steps
        if every is not None and self._step // every > self._saved_step // every:
            return True
        if self.every_n_minutes is None:
            return False
        # the clock of rank 0 decides, so that all ranks save together
        return trainer.strategy.broadcast(time.monotonic() - self._saved_at >= 60 * self.every_n_minutes)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor in trainer.callback_metrics:
            super().on_validation_end(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; Lightning's own ``save_last`` would skip the epochs that are not the best so far."""
        metrics = trainer.callback_metrics
        if (
            self.monitor != _MONITOR
            and self.monitor not in metrics
            and any(name.startswith("val/") for name in metrics)
        ):
            logged = ", ".join(sorted(metrics))
            raise UserError(f"{self.monitor} is not logged: set --checkpoint.monitor to one of {logged}")
        if self.monitor in metrics:
            super().on_train_epoch_end(trainer, pl_module)
        # fit_loop.done is not used: it changes the progress that is about to be saved
        ends = trainer.current_epoch + 1 == trainer.max_epochs or trainer.global_step == trainer.max_steps
        self._stopping = self._signals.agreed(trainer)
        first = not self._saved or self._saved_within_epoch
        waited = first or time.monotonic() - self._saved_at >= _SAVE_INTERVAL
        stops = trainer.should_stop or self._ending or bool(self._stopping)
        due = ends or stops or self._is_due(trainer) or waited
        if trainer.strategy.broadcast(due):
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # Trainer sets it in a helper
            assert self.dirpath is not None
            path = str(Path(self.dirpath) / LAST)
            trainer.save_checkpoint(path)
            self.last_model_path = path
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
            self._saved, self._saved_within_epoch = True, False

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count a run that was asked to stop during the last validation as stopped."""
        super().on_train_end(trainer, pl_module)
        self._signals.stop()
        if signum := self._signals.agreed(trainer):
            raise TrainingInterrupted(signum)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self._signals.stop()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the signal handlers, if the end of the run has not done so."""
        super().teardown(trainer, pl_module, stage)
        self._signals.stop()


def _epoch_of(trainer: Trainer) -> dict[str, float]:
    return {
        "num_training_batches": trainer.num_training_batches,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
    }


def _ends_epoch_or_is_validated(trainer: Trainer, batch_idx: int) -> bool:
    """Tell whether a validation or the end of the epoch follows, which a run resumed from here would skip."""
    if batch_idx + 1 == trainer.num_training_batches:
        return True
    by_epoch = trainer.check_val_every_n_epoch is not None
    batches = batch_idx + 1 if by_epoch else trainer.fit_loop.total_batch_idx + 1
    return trainer.val_check_batch is not None and batches % trainer.val_check_batch == 0
