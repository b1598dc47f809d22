"""What features depend on, and those that earlier runs have computed."""

from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from lit_vision.data.disk_cache import DiskCache, Kind, cache_folder
from lit_vision.data.images import ImageFiles
from lit_vision.errors import UserError
from lit_vision.models.modules import InputSpec
from lit_vision.utils.provenance import hash_of_network


def find_features(backbone: nn.Module, images: ImageFiles, spec: InputSpec, device: torch.device) -> dict[int, Tensor]:
    """Find features of image files that runs in float32 have computed on such a device.

    Args:
        backbone: a network in eval mode.
        images: the files.
        spec: the images that the network takes.
        device: the device on which others would be computed.

    Returns:
        (width,) float32 by the position of the file.
    """
    cache = DiskCache(cache_folder(None))
    if cache.folder is None or not cache.folder.is_dir():
        return {}
    kind = Kind("features", {**made_with(backbone, images.decoding, spec, device), "precision": "32-true"})
    try:
        found, missing = cache.find(kind, images.ids())
    except UserError:  # a file is missing, which whoever reads it will say
        return {}
    return dict(zip(sorted({*range(len(images))} - {*missing}), found.whole() if len(found) else (), strict=True))


def made_with(
    backbone: nn.Module, decoding: dict[str, str | int], spec: InputSpec, device: torch.device
) -> dict[str, Any]:
    """All that features depend on besides the images and the precision, in plain values."""
    is_gpu = device.type == "cuda"
    return {
        "weights": hash_of_network(backbone),
        "images": decoding,
        "input": repr([spec.image_size, *map(float, (*spec.mean, *spec.std))]),
        "libraries": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "device": torch.cuda.get_device_name(device) if is_gpu else torch.backends.cpu.get_cpu_capability(),
        "matmul": torch.get_float32_matmul_precision(),
    }
