import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lit_vision.errors import UserError
from lit_vision.runs import LAST
from lit_vision.utils.files import atomic_write, remove_partial_files


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint beside the old one, which it replaces once the new one is on the disk.

    Lightning writes to the folder for temporary files and moves the file, which copies it if the disks differ.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the disk is full or the file cannot be written; the old checkpoint of that name is kept.
        """
        path = Path(path)
        content = io.BytesIO()  # torch.save would hide why a file cannot be written
        torch.save(checkpoint, content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_partial_files(path)
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())  # otherwise a power cut could leave an empty file under the new name
        except OSError as error:
            kept = "; the one before is kept" if path.is_file() else ""
            remedy = "make room, or choose another folder with --trainer.default_root_dir"
            if path.with_name(LAST).is_file():
                remedy = "make room and resume with --ckpt_path last"
            raise UserError(f"cannot write the checkpoint {path} ({error.strerror}){kept}: {remedy}") from error
