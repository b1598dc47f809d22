"""The benchmark's measurement of cifar94.yaml, beside the training steps of the network that it is derived from."""

import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import yaml

from bench.ours import FirstBatch, fit  # first, as lit_vision sets how OpenMP's threads wait

# isort: split
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_vision.parsing.arguments import find_config
from lit_vision.utils.precision import has_fast_bfloat16

EPOCHS, IMAGES, BATCH = 9.9, 50_000, 1024
"""The recipe of airbench94 in arXiv 2404.00498 for 94 %, all of it at 32x32 pixels."""


class Share(NamedTuple):
    """What cifar94.yaml takes in one precision.

    Attributes:
        precision: the Trainer's name for it.
        reference: milliseconds of a training step of the reference network, in PyTorch as it comes.
        reference_kept: the same in a process that keeps freed memory, as all commands of lit-vision do.
        ours: seconds of our fit.
    """

    precision: str
    reference: float
    reference_kept: float
    ours: float

    def of(self, step: float) -> float:
        """Our fit as a share of the reference recipe, whose steps take so many milliseconds."""
        return self.ours / seconds_of_reference(step)


def seconds_of_reference(step: float) -> float:
    """Seconds of the reference recipe whose steps take so many milliseconds."""
    return step / 1000 * EPOCHS * IMAGES / BATCH


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels_in, channels, 3, padding=1, bias=False), nn.MaxPool2d(2)),
            *(nn.BatchNorm2d(channels), nn.GELU()),
            *(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.GELU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def reference_network() -> nn.Module:
    """Make the network of airbench94, with widths of 64, 256 and 256; its first layer is not trained."""
    whiten = nn.Conv2d(3, 24, 2).requires_grad_(False)
    blocks = [_Block(24, 64), _Block(64, 256), _Block(256, 256)]
    network = nn.Sequential(whiten, nn.GELU(), *blocks, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    return network


def reference_step(bfloat16: bool, steps: int, batch: int = BATCH) -> float:
    """Median milliseconds of a bare training step on one batch in memory."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    network = reference_network().to(device).to(memory_format=torch.channels_last)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.85, nesterov=True, fused=True)
    image = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    label = torch.randint(10, (batch,), device=device)
    taken = []
    for number in range(steps + 2):  # two to warm up
        begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = network(image)
        F.cross_entropy(logits.float(), label, label_smoothing=0.2).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        if number >= 2:
            taken.append(1000 * (time.perf_counter() - begin))
    return median(taken)


def measure(
    arguments: Sequence[str], steps: int, whole: bool, batch: int = BATCH
) -> tuple[str, list[dict[str, str | float]]]:
    """Measure our fit, and the reference's steps before and after it, in each precision that this machine is fast at.

    Returns:
        A description, and the fields of each :class:`Share`.

    Args:
        arguments: options with which lit-vision reads CIFAR-10, or images of its size.
        steps: number of steps of the reference, and of each size of ours if the fit is not run whole.
        whole: run the whole fit; otherwise its time is that of its steps, from a few of each size.
        batch: images in a step of the reference.
    """
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    names = ["bf16-mixed", "32-true"] if has_fast_bfloat16(device) else ["32-true"]
    before = {name: reference_step(name == "bf16-mixed", steps, batch) for name in names}
    found = []
    for name in names:
        line = ["--config", "cifar94.yaml", *arguments, "--data.val_size", "0", "--trainer.limit_val_batches", "0"]
        line += ["--trainer.precision", name]
        ours = fit(line)[1] if whole else _estimated(line, steps)
        kept = reference_step(name == "bf16-mixed", steps, batch)
        found.append(Share(name, before[name], kept, ours))
    return report(found), [share._asdict() for share in found]


def _estimated(line: list[str], steps: int) -> float:
    """Seconds of all training steps of cifar94.yaml on 50,000 images, from a few of each size."""
    config = yaml.safe_load(find_config("cifar94.yaml").read_text())
    data, epochs = config["data"]["init_args"], config["trainer"]["max_epochs"]
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", str(steps + 2)]
    watch = ["--trainer.callbacks+=bench.ours.FirstBatch"]
    seconds = 0.0
    for crops, count in ((1, data["crop_epochs"]), (0, epochs - data["crop_epochs"])):
        FirstBatch.times.clear()
        fit([*line, *short, *watch, "--data.crop_epochs", str(crops)])
        times = FirstBatch.times[1:]  # the first step is slower
        step = median(after - before for before, after in pairwise(times))
        seconds += step * count * IMAGES / data["batch_size"]
    return seconds


def report(found: Sequence[Share]) -> str:
    """Describe the shares, a line for each precision."""
    lines = []
    for share in found:
        plain, kept = share.reference, share.reference_kept
        lines.append(
            f"{share.precision}: cifar94.yaml {share.ours:.1f} s; {EPOCHS} epochs of the reference "
            f"{seconds_of_reference(plain):.1f} s in steps of {plain:.0f} ms: {share.of(plain):.2f} of it; "
            f"{seconds_of_reference(kept):.1f} s with freed memory kept, as here: {share.of(kept):.2f}"
        )
    return "\n".join(lines)
