import ctypes
import sys
from pathlib import Path

import pytest

from lit_vision.data import ImageFolderDataModule
from lit_vision.utils import memory
from lit_vision.utils.memory import available_memory

FORWARD = """
import resource, torch, torchvision
{setting}
network = torchvision.models.resnet18().eval()
image = torch.rand(8, 3, 224, 224)
with torch.inference_mode():
    network(image), network(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_a_forward_pass_fetches_no_pages_anew(process):
    keep = "from lit_vision.utils.memory import keep_freed_memory; keep_freed_memory()"
    kept, given_back = (int(process("-c", FORWARD.format(setting=setting)).out) for setting in (keep, ""))
    assert kept < given_back / 4, (kept, given_back)


LIMITED = """
import resource
import torch
from lit_vision.utils.log import configure_logging
from lit_vision.utils.memory import available_memory
from test_memory import batches
configure_logging()
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {left} * 2**20,) * 2)
print({call})
"""


def batches(root):
    """A hash of every training batch of an epoch."""
    data = ImageFolderDataModule(root, batch_size=8, image_size=512, num_workers=1, seed=0, cache="none")
    data.setup("fit")
    return [hash(batch.image.numpy().tobytes() + batch.index.numpy().tobytes()) for batch in data.train_dataloader()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_images_that_exceed_the_memory_that_is_left_are_decoded_batch_by_batch(folders, process):
    root = folders({"train": {"red": 200, "blue": 200}, "val": {"red": 4, "blue": 4}}, size=8)
    fixed = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parent)}
    runs = []
    for left in (500, 2000):  # for 300 MiB of images
        found = process("-c", LIMITED.format(left=left, call=f"batches({str(root)!r})"), **fixed)
        assert found.code == 0, found.err
        runs.append(found.out.splitlines())
    limited, free = runs
    assert any(line.startswith("train: 400 images exceed the memory budget of 0.") for line in limited)
    assert not any("exceed" in line for line in free)
    assert free[-1] == limited[-1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_available_memory_is_that_of_the_tightest_limit(process):
    left = available_memory()
    assert left is not None
    assert left > 2**20
    limited = process("-c", LIMITED.format(left=300, call="available_memory()"), PYTHONPATH=str(Path(__file__).parent))
    assert 200 * 2**20 < int(limited.out) <= 300 * 2**20


@pytest.mark.parametrize(
    ("available", "processes", "expected"),
    [(None, 8, 4 * 2**30), (2**30, 1, 2**29), (2**30, 4, 2**27), (2**36, 1, 4 * 2**30), (0, 1, 0)],
)
def test_the_budget_is_half_of_what_is_left_but_at_most_4_gib(monkeypatch, available, processes, expected):
    monkeypatch.setattr(memory, "available_memory", lambda: available)
    assert memory.memory_budget(processes) == expected


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_left_in_control_groups(tmp_path, version):
    names = {1: ("memory", "limit_in_bytes", "usage_in_bytes", "total_"), 2: ("", "max", "current", "")}
    controllers, limit, usage, total = names[version]
    outer = tmp_path / controllers / "jobs"
    inner = outer / "mine"
    inner.mkdir(parents=True)
    for folder, most, used in ((outer, 1000, 700), (inner, 900, 100)):
        (folder / f"memory.{limit}").write_text(f"{most}\n")
        (folder / f"memory.{usage}").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"cache 500\n{total}inactive_file 50\n")
    own = tmp_path / "cgroup"
    own.write_text(f"7:cpu:/\n{'4' if version == 1 else '0'}:{controllers}:/jobs/mine\n")
    assert list(memory._left_in_groups(own, tmp_path)) == [850, 350]
