import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_vision.errors import TrainingInterrupted, UserError

_SAVE_INTERVAL = 1.0  # seconds
_EVERY = 10  # steps after which several processes ask each other whether to stop or to save


class BestAndLast(ModelCheckpoint):
    """checkpoints/best.ckpt by val/acc; checkpoints/last.ckpt after every epoch, within it if asked to, and on signals.

    Of epochs that are over in less than a second, only as many write last.ckpt as there are seconds, and the final one.
    At Ctrl-C or SIGTERM the step is finished first, so that the checkpoint is whole; several processes ask each other
    every ten steps, and an epoch whose last step or validation is under way is finished. A second signal stops at once.

    Args:
        every_n_steps: write last.ckpt after so many steps, too.
        every_n_minutes: write last.ckpt after so many minutes, too.

    Raises:
        UserError: a number that is not above 0.
    """

    def __init__(self, every_n_steps: int | None = None, every_n_minutes: float | None = None) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_n_minutes", every_n_minutes)):
            if value is not None and value <= 0:
                raise UserError(f"{name} {value} is too small: give more than 0 with --checkpoint.{name}")
        super().__init__(filename="best", monitor="val/acc", mode="max", enable_version_counter=False)
        self._state_key = super().state_key
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self._signal: int | None = None  # that asked to stop
        self._stopping = 0  # the signal that all processes stop for at the start of the next epoch
        self._step = 0  # the newest
        self._asked_step = 0
        self._saved_at = float("-inf")
        self._saved_step = 0
        self._saved = False  # whether there is a last.ckpt of this run
        self._within_epoch = False  # whether that is
        self._restore_handlers: Callable[[], object] = lambda: None

    @property
    def state_key(self) -> str:
        """Name in checkpoints; Lightning asks for it at every hook."""
        return self._state_key

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best so far, if it stands in this run's folder, wherever that was moved since."""
        assert self.dirpath is not None
        best = Path(self.dirpath) / Path(state_dict["best_model_path"]).name
        if not best.is_file():  # another run starts from this checkpoint: it finds its own best
            return
        here = {"dirpath": self.dirpath, "best_model_path": str(best), "kth_best_model_path": str(best)}
        best_k = {str(best): state_dict["best_model_score"]}
        super().load_state_dict({**state_dict, **here, "best_k_models": best_k})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let a run with ``max_steps`` go on as one with ``max_epochs`` does."""
        super().setup(trainer, pl_module, stage)
        # Otherwise Lightning takes an epoch that ended for one to be finished, and counts it twice.
        trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, where that is possible."""
        super().on_train_start(trainer, pl_module)
        self._step = self._asked_step = self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()
        self.last_model_path = str(trainer.ckpt_path or "")  # as good as any, until there is one of this run
        if threading.current_thread() is not threading.main_thread():
            return
        # Lightning's own handler of SIGTERM saves nothing; SIGUSR1, with which SLURM asks for a new start, stays its.
        previous = {signum: signal.signal(signum, self._on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for signum, handler in previous.items():
                signal.signal(signum, handler)
            self._restore_handlers = lambda: None

        self._restore_handlers = restore

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._signal = signum
        self._restore_handlers()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not Lightning's, which would wait for the end of a step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here, between two steps, if asked to; save if it is time to."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == self._step:  # gradients are accumulated, which no checkpoint holds
            return
        self._step = trainer.global_step
        if _ends_epoch_or_is_validated(trainer, batch_idx):
            return
        if trainer.world_size > 1:
            if self._step - self._asked_step < _EVERY:
                return
            self._asked_step = self._step
        if signum := self._agreed_signal(trainer):
            self._save_last(trainer)
            raise TrainingInterrupted(signum)
        if self._is_due(trainer):
            self._save_last(trainer)
            self._within_epoch = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if asked to at the end of the last epoch, whose figures are logged by now."""
        super().on_train_epoch_start(trainer, pl_module)
        if self._stopping:
            raise TrainingInterrupted(self._stopping)

    def _agreed_signal(self, trainer: Trainer) -> int:
        """The signal that came to this or any other process; 0 for none. All must call it at the same step."""
        signum = self._signal or 0
        if trainer.world_size == 1:
            return signum
        asked = torch.tensor(float(signum), device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(asked, reduce_op="max"))

    def _is_due(self, trainer: Trainer) -> bool:
        every = self.every_n_steps
        if every is not None and self._step // every > self._saved_step // every:
            return True
        if self.every_n_minutes is None:
            return False
        # all processes save together, whatever their clocks say
        return trainer.strategy.broadcast(time.monotonic() - self._saved_at >= 60 * self.every_n_minutes)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; Lightning's own ``save_last`` would skip the epochs that are not the best so far."""
        super().on_train_epoch_end(trainer, pl_module)
        # not fit_loop.done, which writes into the progress that is about to be saved
        ends = trainer.current_epoch + 1 == trainer.max_epochs or trainer.global_step == trainer.max_steps
        self._stopping = self._agreed_signal(trainer)
        waits = not self._saved or self._within_epoch or time.monotonic() - self._saved_at >= _SAVE_INTERVAL
        due = ends or trainer.should_stop or bool(self._stopping) or self._is_due(trainer) or waits
        if trainer.strategy.broadcast(due):
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            assert self.dirpath is not None
            path = str(Path(self.dirpath) / "last.ckpt")
            trainer.save_checkpoint(path)
            self.last_model_path = path
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
            self._saved, self._within_epoch = True, False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back; asked to stop during the last validation, the run is stopped all the same."""
        super().on_train_end(trainer, pl_module)
        self._restore_handlers()
        if signum := self._agreed_signal(trainer):
            raise TrainingInterrupted(signum)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        super().on_exception(trainer, pl_module, exception)
        self._restore_handlers()


def _ends_epoch_or_is_validated(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation or the end of the epoch follows, which a run that goes on from here would leave out."""
    if batch_idx + 1 == trainer.num_training_batches:
        return True
    by_epoch = trainer.check_val_every_n_epoch is not None
    batches = batch_idx + 1 if by_epoch else trainer.fit_loop.total_batch_idx + 1
    return trainer.val_check_batch is not None and batches % trainer.val_check_batch == 0
