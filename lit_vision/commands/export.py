import argparse
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_vision.errors import UserError
from lit_vision.models import Classifier, Predictor
from lit_vision.parsing.arguments import simple_parser
from lit_vision.parsing.trained import load_trained
from lit_vision.utils.files import atomic_write, check_output
from lit_vision.utils.log import log_info

_SUFFIX = {"state_dict": ".pth", "onnx": ".onnx", "torch_export": ".pt2"}
_MAX_DIFFERENCE = 1e-4  # between two probabilities


def export_parser() -> argparse.ArgumentParser:
    """The options of ``lit-vision export``."""
    parser = simple_parser("export", "Write a trained network for use without this project.")
    parser.add_argument(
        "--format",
        choices=_SUFFIX,
        default="state_dict",
        help="Format of the file. state_dict: the weights under the names of the network's layers; those of a "
        "TransferClassifier have the names of torchvision's network, for use with its last layer replaced. onnx and "
        "torch_export: the network with normalisation and softmax; it takes RGB images (N, 3, image_size, image_size), "
        "float32 in [0, 1], and gives probabilities (N, classes). Default: state_dict.",
    )
    parser.add_argument("--output", metavar="FILE", help="File to write. Default: a file beside the checkpoint.")
    return parser


def export(words: list[str]) -> None:
    """Write a trained network for use without this project.

    Args:
        words: the command line after ``export``.

    Raises:
        UserError: the checkpoint or a package is missing, the file cannot be written, or the exported network gives
            other results.
    """
    options = export_parser().parse_args(words)
    model, checkpoint = load_trained(options.ckpt_path, options.name, options.model)
    path = Path(options.output) if options.output else checkpoint.with_suffix(_SUFFIX[options.format])
    # torch.export.save insists on its suffix
    check_output(path, "--output", ".pt2" if options.format == "torch_export" else None)
    log_info(f"checkpoint {checkpoint}")
    with atomic_write(path) as temporary:
        note = _WRITERS[options.format](model, temporary)
    print(f"{path}: {options.format} of {type(model).__name__}, classes {', '.join(model.class_names)}{note}")


def _write_state_dict(model: Classifier, path: Path) -> str:
    content = BytesIO()  # torch.save would hide why a file cannot be written
    torch.save(model.export_state_dict(), content)
    path.write_bytes(content.getbuffer())
    return ""


def _write_onnx(model: Classifier, path: Path) -> str:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx.export uses it
    except ImportError as error:
        raise UserError(
            f"export to ONNX needs the package {error.name}: run pip install 'lit-vision[onnx]', or in a clone "
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
    content = BytesIO()  # as above
    torch.export.save(program, content, extra_files={"metadata.json": json.dumps(_metadata(model))})
    path.write_bytes(content.getbuffer())
    return _compare(model, network, torch.export.load(path).module())


_WRITERS: dict[str, Callable[[Classifier, Path], str]] = {
    "state_dict": _write_state_dict,
    "onnx": _write_onnx,
    "torch_export": _write_torch_export,
}


def _metadata(model: Classifier) -> dict[str, str]:
    """The facts that a program needs to use the network, as JSON values by name."""
    spec = model.input_spec
    known: dict[str, Any] = {
        "class_names": model.class_names,
        "image_size": spec.image_size,
        "resize": spec.resize,
        "decoding": spec.decoding,
        "temperature": model.calibration.temperature if model.calibration else 1.0,
    }
    return {name: json.dumps(value) for name, value in known.items()}


def _images(model: Classifier, count: int) -> Tensor:
    side = model.input_spec.image_size
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def _compare(model: Classifier, network: Predictor, exported: Callable[[Tensor], Tensor]) -> str:
    """Compare the exported network with the original, on batches of sizes other than that of the export."""
    with torch.inference_mode():
        difference = max(
            (network(image) - exported(image)).abs().max().item() for image in (_images(model, 1), _images(model, 5))
        )
    if not difference <= _MAX_DIFFERENCE:
        raise UserError(
            f"the exported network differs from the trained one by {difference:.1e}, which is more than "
            f"{_MAX_DIFFERENCE:.0e}: use --format state_dict"
        )
    return f"; differs by at most {difference:.1e} from the network itself"
