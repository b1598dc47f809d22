"""What made a run: in each of its checkpoints, and in provenance.yaml."""

from datetime import datetime
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lit_vision.callbacks.run_folder import run_folder
from lit_vision.data.datamodule import image_data
from lit_vision.models.transfer import TransferClassifier
from lit_vision.runs import PROVENANCE
from lit_vision.utils.files import atomic_write
from lit_vision.utils.lightning_compat import global_seed
from lit_vision.utils.provenance import device_name, hash_of_network, versions


class Provenance(Callback):
    """Records what makes a run: versions, device, precision, seed, and hashes of the backbone and of the data.

    A checkpoint has it under the key provenance: a list with an entry for each start of the run, since a run may be
    resumed with other versions or on another machine. The folder of the run has the same in provenance.yaml.
    """

    def __init__(self) -> None:
        self._before: list[dict[str, Any]] = []
        self._now: dict[str, Any] = {}
        self._written = False

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._before = list(checkpoint.get("provenance", []))

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = image_data(trainer)
        resumed = self._before[-1] if self._before else {}
        self._now = {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "from_step": trainer.global_step,
            **versions(),
            "device": device_name(pl_module.device),
            "processes": trainer.world_size,
            "threads": torch.get_num_threads(),
            "precision": str(trainer.precision),
            "seed": global_seed() if data is None else data.seed,
        }
        if isinstance(pl_module, TransferClassifier):
            # a run that is resumed has trained the backbone since
            self._now["backbone"] = resumed.get("backbone") or hash_of_network(pl_module.backbone)
        if data is not None:
            self._now["data"] = {"module": type(data).__name__, **(data.state_dict().get("fingerprint") or {})}

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["provenance"] = [*self._before, self._now]
        if not self._written and (folder := run_folder(trainer)):
            self._written = True
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / PROVENANCE, lasting=True) as temporary:
                temporary.write_text(yaml.safe_dump(checkpoint["provenance"], sort_keys=False))
