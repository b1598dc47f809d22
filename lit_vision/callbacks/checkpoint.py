import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_vision.errors import Stopped

_PAUSE = 1.0  # seconds


class BestAndLast(ModelCheckpoint):
    """checkpoints/best.ckpt by val/acc; checkpoints/last.ckpt after every epoch, and on Ctrl-C.

    Of epochs that are over in less than a second, only as many write last.ckpt as there are seconds, and the final one.
    At Ctrl-C the step is finished first, so that the checkpoint is whole; a second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        super().__init__(filename="best", monitor="val/acc", mode="max", enable_version_counter=False)
        self._state_key = super().state_key
        self._stop = False
        self._saved_at = float("-inf")
        self._restore_handler: Callable[[], object] | None = None

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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over Ctrl-C, where that is possible."""
        super().on_train_start(trainer, pl_module)
        if threading.current_thread() is threading.main_thread():
            previous = signal.signal(signal.SIGINT, self._on_signal)
            self._restore_handler = lambda: signal.signal(signal.SIGINT, previous)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._stop = True
        self._give_back_signal()

    def _give_back_signal(self) -> None:
        if self._restore_handler is not None:
            self._restore_handler()
            self._restore_handler = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Stop here, between two steps, if asked to."""
        super().on_train_batch_end(trainer, pl_module, *args)
        if self._stop:
            self._save_last(trainer)
            raise Stopped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; Lightning's own ``save_last`` would skip the epochs that are not the best so far."""
        super().on_train_epoch_end(trainer, pl_module)
        # not fit_loop.done, which writes into the progress that is about to be saved
        ends = trainer.current_epoch + 1 == trainer.max_epochs or trainer.global_step == trainer.max_steps
        due = ends or trainer.should_stop or time.monotonic() - self._saved_at >= _PAUSE
        if trainer.strategy.broadcast(due):  # all processes save together, whatever their clocks say
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            assert self.dirpath is not None
            self.last_model_path = str(Path(self.dirpath) / "last.ckpt")
            trainer.save_checkpoint(self.last_model_path)
            self._saved_at = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give Ctrl-C back; asked to stop during the last validation, the run is stopped all the same."""
        super().on_train_end(trainer, pl_module)
        self._give_back_signal()
        if self._stop:
            raise Stopped

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give Ctrl-C back."""
        super().on_exception(trainer, pl_module, exception)
        self._give_back_signal()
