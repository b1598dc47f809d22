import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lit_vision.errors import UserError
from lit_vision.models import Classifier, Predictor
from lit_vision.runs import LOGS, find_checkpoint
from lit_vision.utils.files import atomic_write, check_output

Format = Literal["state_dict", "onnx", "torch_export"]

_SUFFIX = {"state_dict": ".pth", "onnx": ".onnx", "torch_export": ".pt2"}
_TOLERANCE = 1e-4


def export(ckpt_path: str, format: Format = "state_dict", output: str | None = None, name: str | None = None) -> Path:
    """Write a trained network for use without this project.

    Args:
        ckpt_path: a checkpoint, or best or last of the newest run.
        format: state_dict, named as SmallCNN's layers or as torchvision's network with its last Linear replaced; onnx
            or torch_export, which take RGB images (N, 3, image_size, image_size), float32 in [0, 1], any N, and give
            probabilities (N, classes).
        output: the file to write; by default beside the checkpoint.
        name: of the runs to look for best or last in; by default all.

    Returns:
        The file.

    Raises:
        UserError: there is no such checkpoint; a package is missing; the exported network gives other results.
    """
    checkpoint = find_checkpoint(ckpt_path, Path(LOGS), name)
    model = Classifier.load_from_checkpoint(checkpoint)
    path = Path(output) if output else checkpoint.with_suffix(_SUFFIX[format])
    check_output(path, "--output", ".pt2" if format == "torch_export" else None)  # torch.export insists on it
    with atomic_write(path) as beside:
        note = _WRITERS[format](model, beside)
    print(f"{path}: {format} of {type(model).__name__}, classes {', '.join(model.class_names)}{note}")
    return path


def _write_state_dict(model: Classifier, path: Path) -> str:
    torch.save(model.export_state_dict(), path)
    return ""


def _write_onnx(model: Classifier, path: Path) -> str:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch exports with
    except ImportError as error:
        raise UserError(
            f"export to ONNX needs the package {error.name}: pip install 'lit-vision[onnx]' brings it, in a clone "
            "pip install -e '.[onnx]'"
        ) from error
    network, example = Predictor(model), _images(model, 2)
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        input_names=["image"],
        output_names=["probability"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    assert program is not None
    content = program.model_proto
    onnx.helper.set_model_props(content, _metadata(model))
    onnx.save(content, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return _compare(model, network, lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0]))


def _write_torch_export(model: Classifier, path: Path) -> str:
    network, example = Predictor(model), _images(model, 2)
    program = torch.export.export(network, (example,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}})
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(_metadata(model))})
    return _compare(model, network, torch.export.load(path).module())


_WRITERS: dict[str, Callable[[Classifier, Path], str]] = {
    "state_dict": _write_state_dict,
    "onnx": _write_onnx,
    "torch_export": _write_torch_export,
}


def _metadata(model: Classifier) -> dict[str, str]:
    """What a program needs to know to use it, as JSON values by name."""
    known: dict[str, Any] = {name: model.hparams[name] for name in ("class_names", "image_size", "resize")}
    return {name: json.dumps(value) for name, value in known.items()}


def _images(model: Classifier, count: int) -> Tensor:
    side = model.hparams["image_size"]
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def _compare(model: Classifier, network: Predictor, exported: Callable[[Tensor], Tensor]) -> str:
    """Try the exported network on batches of other sizes than the one that it was exported with."""
    with torch.inference_mode():
        difference = max(
            (network(image) - exported(image)).abs().max().item() for image in (_images(model, 1), _images(model, 5))
        )
    if not difference <= _TOLERANCE:
        raise UserError(
            f"the exported network differs from the trained one by {difference:.1e}, more than {_TOLERANCE:.0e}: use "
            "--format state_dict"
        )
    return f"; differs by at most {difference:.1e} from the network itself"
