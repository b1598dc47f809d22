import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lit_vision.errors import UserError
from lit_vision.utils.files import atomic_write, remove_partial_files


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent: written beside the old one, which they replace when on the disk.

    Lightning's own are moved out of the folder for temporary files, which is a copy where that is on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the disk is full or cannot be written; the old checkpoint of that name is as it was.
        """
        if "://" in str(path):  # a bucket, which has no half files
            return super().save_checkpoint(checkpoint, path, storage_options)
        path = Path(path)
        content = io.BytesIO()
        torch.save(checkpoint, content)  # which hides the reason where a file cannot be written
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_partial_files(path)  # of a process that was killed while it wrote
            with atomic_write(path) as beside, beside.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave the new name with nothing in it
        except OSError as error:
            kept = "; the one before is kept" if path.is_file() else ""
            remedy = "make room, or name another folder with --trainer.default_root_dir"
            if path.with_name("last.ckpt").is_file():
                remedy = "make room, and go on with --ckpt_path last"
            raise UserError(f"cannot write the checkpoint {path} ({error.strerror}){kept}: {remedy}") from error
