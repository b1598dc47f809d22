from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lit_vision.callbacks.run_folder import run_folder
from lit_vision.runs import CONFIG
from lit_vision.utils.files import atomic_write


class ConfigFile(Callback):
    """Writes config.yaml of a run just before its first checkpoint, or after its first epoch if it writes none.

    A command that fails before that leaves the config of the run that it resumes as it was.

    Args:
        config: the run's config as YAML.

    Attributes:
        written: whether the run came that far.
    """

    def __init__(self, config: str) -> None:
        self.config = config
        self.written = False

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._write(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if self.written:
            return
        self.written = True
        if folder := run_folder(trainer):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / CONFIG, lasting=True) as temporary:
                temporary.write_text(self.config)
