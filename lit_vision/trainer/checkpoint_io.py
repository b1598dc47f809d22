import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lit_vision.errors import UserError
from lit_vision.models.checkpoint import checked_checkpoint
from lit_vision.runs import LAST, PREVIOUS
from lit_vision.utils.files import atomic_write, keep_previous, remove_partial_files
from lit_vision.utils.torch_file import find_damage


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint beside the old one, which it replaces once the new one is on the disk.

    Lightning writes to the folder for temporary files and moves the file, which copies it if the disks differ. The
    last.ckpt that is replaced stays as previous.ckpt.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whole: set[Path] = set()  # files that are known to be undamaged

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the disk is full or the file cannot be written; the old checkpoint of that name is kept.
        """
        path = Path(path)
        content = io.BytesIO()  # torch.save would hide why a file cannot be written
        torch.save(checkpoint, content)
        previous = path.with_name(PREVIOUS)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_partial_files(path)
            with atomic_write(path, lasting=True) as temporary:
                temporary.write_bytes(content.getbuffer())
                if path.name == LAST and self._is_worth_keeping(path):
                    remove_partial_files(previous)
                    keep_previous(path, previous)
            self._whole.add(path)
        except OSError as error:
            kept = "; the one before is kept" if path.is_file() else ""
            remedy = "make room, or choose another folder with --trainer.default_root_dir"
            if path.with_name(LAST).is_file() or previous.is_file():
                remedy = "make room and resume with --ckpt_path last"
            raise UserError(f"cannot write the checkpoint {path} ({error.strerror}){kept}: {remedy}") from error

    def _is_worth_keeping(self, path: Path) -> bool:
        """Whether a file should replace its predecessor, which is better than a damaged file."""
        return path in self._whole or (path.is_file() and find_damage(path) is None)

    @override
    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            UserError: the file is damaged.
        """
        with checked_checkpoint(path):
            return super().load_checkpoint(path, *args, **kwargs)
