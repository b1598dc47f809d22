import torch
from helpers import RUN

from lit_vision.trainer.checkpoint_io import AtomicCheckpointIO


def test_half_files_of_killed_processes_are_removed():
    folder = RUN / "checkpoints"
    folder.mkdir(parents=True)
    for name in (".last.123.ckpt", ".best.9.ckpt", ".other.1.ckpt"):
        (folder / name).write_text("half")
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(2)}, folder / "last.ckpt")
    assert {path.name for path in folder.iterdir()} == {".best.9.ckpt", ".other.1.ckpt", "last.ckpt"}
