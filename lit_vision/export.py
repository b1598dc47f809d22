from pathlib import Path
from typing import Literal

import torch

from lit_vision.models import Classifier
from lit_vision.runs import LOGS, find_checkpoint


def export(
    ckpt_path: str = "best",
    format: Literal["state_dict"] = "state_dict",
    output: str | None = None,
    name: str | None = None,
) -> Path:
    """Write a trained network for use without this project.

    Args:
        ckpt_path: a checkpoint, or best or last of the newest run.
        format: state_dict, named as SmallCNN's layers or as torchvision's network with its last Linear replaced.
        output: the file to write; by default beside the checkpoint.
        name: of the runs to look for best or last in; by default all.

    Returns:
        The file.

    Raises:
        UserError: there is no such checkpoint.
    """
    checkpoint = find_checkpoint(ckpt_path, Path(LOGS), name)
    model = Classifier.load_from_checkpoint(checkpoint)
    path = Path(output) if output else checkpoint.with_suffix(".pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.plain_state_dict(), path)
    print(f"{path}: {format} of {type(model).__name__}, classes {', '.join(model.class_names)}")
    return path
