"""The benchmark's measurements of plain PyTorch: loops as in the notebooks, and a loop that does nothing but train.

Each function is meant to be called in a process of its own.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, models, transforms

from bench.load import BESIDE, busy_processes

_TO_TENSOR = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _wait() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def init_linear(module: nn.Module) -> None:
    """Set Xavier uniform weights and zero bias if the module is a Linear layer."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def small_cnn() -> nn.Module:
    """Make notebook 1's network."""
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 120), nn.ReLU(), nn.Linear(120, 10)),
    )
    return network.apply(init_linear).to(_device())


class Pixels(Dataset[tuple[Tensor, int]]):
    """Images in memory, made ready one by one as torchvision's CIFAR10 does.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images: np.ndarray = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels: list[int] = labels.tolist()
        self.transform = transforms.Compose(_TO_TENSOR)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def _epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer | None, batches: Iterable[tuple[Tensor, Tensor]], steps: int
) -> float:
    """Return the seconds of up to ``steps`` steps, of training with an optimizer and of validation without one."""
    start, loss_sum, correct = time.perf_counter(), 0.0, 0
    network.train(optimizer is not None)
    for step, (images, labels) in enumerate(batches):
        if step == steps:
            break
        images, labels = images.to(_device()), labels.to(_device())
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss_sum += loss.item()
        correct += (logits.argmax(1) == labels).sum().item()
    return time.perf_counter() - start


def notebook_1(splits: Path, steps: int) -> dict[str, float]:
    """Measure a part of an epoch in batches of 4, and a whole validation.

    Args:
        splits: file with the images and labels of train and val.
        steps: number of training steps.

    Returns:
        step: milliseconds for a training step; validation: its seconds; epoch: seconds for training and validation.
    """
    data = torch.load(splits, weights_only=True)
    network = small_cnn()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    train = _epoch(network, optimizer, DataLoader(Pixels(*data["train"]), 4, shuffle=True, num_workers=2), steps)
    validation = _epoch(network, None, DataLoader(Pixels(*data["val"]), 4, num_workers=2), -1)
    return {"step": 1000 * train / steps, "validation": validation, "epoch": train + validation}


def bare_loop(splits: Path, steps: int, batch_size: int = 4) -> dict[str, float]:
    """Measure the same steps with all images ready in memory, and without sums of loss and accuracy.

    Args:
        splits: see :func:`notebook_1`.
        steps: number of training steps.
        batch_size: number of images in a step.

    Returns:
        step: milliseconds for a step.
    """
    pixels, labels = torch.load(splits, weights_only=True)["train"]
    images = pixels.to(_device()).float().div_(127.5).sub_(1)
    labels = labels.to(_device())
    network = small_cnn()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    order = torch.randperm(len(images)).to(_device()).split(batch_size)[:steps]
    start = time.perf_counter()
    for index in order:
        loss = F.cross_entropy(network(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _wait()
    return {"step": 1000 * (time.perf_counter() - start) / len(order)}


def beside(splits: Path) -> dict[str, float]:
    """Measure the bare loop in batches of 32, alone and while other processes want the same cores.

    Args:
        splits: see :func:`notebook_1`.

    Returns:
        0, 1 and 4: milliseconds for a step beside as many busy processes.
    """
    found = {}
    for others, steps in BESIDE.items():
        with busy_processes(others):
            found[str(others)] = bare_loop(splits, steps, batch_size=32)["step"]
    return found


def notebook_2(folder: Path, epochs: int) -> dict[str, float]:
    """Measure a frozen ResNet18 with a new head; every image is decoded and passes the network in every epoch.

    Args:
        folder: folder with train/CLASS/* and val/CLASS/*.
        epochs: number of epochs of training and validation.

    Returns:
        fit: seconds for all epochs.
    """
    transform = transforms.Compose([transforms.Resize((224, 224)), *_TO_TENSOR])
    train = DataLoader(datasets.ImageFolder(str(folder / "train"), transform), 32, shuffle=True)
    val = DataLoader(datasets.ImageFolder(str(folder / "val"), transform), 32)
    network = models.resnet18(weights=None).requires_grad_(False)
    network.fc = nn.Linear(512, 2)
    network.fc.apply(init_linear)
    network.to(_device())
    optimizer = torch.optim.SGD(network.fc.parameters(), lr=0.001, momentum=0.9)
    return {"fit": sum(_epoch(network, optimizer, train, -1) + _epoch(network, None, val, -1) for _ in range(epochs))}


def loader(splits: Path) -> dict[str, float]:
    """Measure a DataLoader that yields up to 20,000 training images as normalised float32.

    Args:
        splits: see :func:`notebook_1`.

    Returns:
        512: images per second in batches of 512; 4: milliseconds for a batch of 4.
    """
    images, labels = torch.load(splits, weights_only=True)["train"]
    data = Pixels(images[:20_000], labels[:20_000])
    found = {}
    for batch_size in (512, 4):
        start = time.perf_counter()
        for _ in DataLoader(data, batch_size, shuffle=True, num_workers=2):
            pass
        found[batch_size] = (time.perf_counter() - start) / len(data)
    return {"512": 1 / found[512], "4": 4000 * found[4]}


def predict(folder: Path) -> dict[str, float]:
    """Measure predictions for a folder with CLASS/*, in batches of 4 through a DataLoader.

    Returns:
        files: images per second.
    """
    data = datasets.ImageFolder(str(folder), transforms.Compose(_TO_TENSOR))
    network = small_cnn().eval()
    start = time.perf_counter()
    with torch.no_grad():
        for images, _ in DataLoader(data, 4, num_workers=2):
            network(images.to(_device())).softmax(1).tolist()
    return {"files": len(data) / (time.perf_counter() - start)}


def large(folder: Path) -> dict[str, float]:
    """Measure the decoding of photos in a folder with train/CLASS/* to 224 pixels by a DataLoader with two workers.

    Returns:
        files: images per second.
    """
    transform = transforms.Compose([transforms.Resize((224, 224)), *_TO_TENSOR])
    data = datasets.ImageFolder(str(folder / "train"), transform)
    begin = time.perf_counter()
    for _ in DataLoader(data, 32, num_workers=2):
        pass
    return {"files": len(data) / (time.perf_counter() - begin)}


def over_budget(folder: Path) -> dict[str, float]:
    """Measure an epoch of a DataLoader that decodes every image, of a folder with train/CLASS/*.

    Returns:
        images: images per second.
    """
    return {"images": large(folder)["files"]}


def start_with_files(folder: Path, started: float) -> dict[str, float]:
    """Measure the seconds from the start of the process to the first batch of image files.

    Args:
        folder: folder with CLASS/*.
        started: time at which the process was started, by ``time.time``.
    """
    data = datasets.ImageFolder(str(folder), transforms.Compose(_TO_TENSOR))
    next(iter(DataLoader(data, 32, shuffle=True, num_workers=2)))
    return {"first batch": time.time() - started}


def start(started: float) -> dict[str, float]:
    """Measure the seconds from the start of the process to the first batch.

    Args:
        started: time at which the process was started, by ``time.time``.
    """
    data = Pixels(torch.zeros(64, 3, 32, 32, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64))
    small_cnn()
    next(iter(DataLoader(data, 4, shuffle=True, num_workers=2)))
    return {"first batch": time.time() - started}
