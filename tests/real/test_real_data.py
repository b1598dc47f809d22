"""On the real images that stand beside some checkouts; skipped where they do not."""

import hashlib
import os
import subprocess
import sys
import time

import pytest
import torch
from helpers import REPOSITORY, metrics_in
from torchvision import datasets

from lit_vision.data import CIFAR10DataModule, ImageFolderDataModule

SHARED = REPOSITORY.parent / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED / "unpack.py").is_file(), reason="the real images are not here"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Unpacked by the first of the test workers that asks; the others wait for it."""
    folder = tmp_path_factory.getbasetemp().parent / f"real-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    try:
        folder.mkdir()
    except FileExistsError:
        while not (folder / "done").exists():
            time.sleep(0.1)
        return folder
    subprocess.run([sys.executable, str(SHARED / "unpack.py"), str(folder)], check=True)
    (folder / "done").touch()
    return folder


@pytest.fixture
def told_md5s(data, monkeypatch):
    """torchvision takes this copy's files for the official ones."""

    def md5(name):
        return hashlib.md5((data / "cifar-10-batches-py" / name).read_bytes()).hexdigest()

    cifar = datasets.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [[name, md5(name)] for name, _ in cifar.train_list])
    monkeypatch.setattr(cifar, "test_list", [[name, md5(name)] for name, _ in cifar.test_list])
    monkeypatch.setattr(cifar, "meta", {**cifar.meta, "md5": md5("batches.meta")})


def by_class(module):
    """For each class the sum of its images' pixels: the same for any order of the images."""
    module.setup("test")
    sums, counts = torch.zeros(10, 3072, dtype=torch.int64), torch.zeros(10, dtype=torch.int64)
    for batch in module.test_dataloader():
        sums.index_add_(0, batch.label, batch.image.flatten(1).long())
        counts += torch.bincount(batch.label, minlength=10)
    return sums, counts


@pytest.mark.slow
def test_the_pickles_and_the_folders_are_the_same_images(data, told_md5s):
    pickles, folders = CIFAR10DataModule(data), ImageFolderDataModule(data / "cifar10")
    assert pickles.class_names == folders.class_names
    for a, b in zip(by_class(pickles), by_class(folders), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_the_official_layout_trains(cli, data, told_md5s):
    limits = "--trainer.max_epochs 1 --trainer.limit_train_batches 3000 --trainer.accelerator cpu"
    result = cli(f"fit --config cifar.yaml --data.root {data} {limits}")
    assert result.code == 0, result.err
    assert metrics_in(cli("validate --ckpt_path best").out)["val/acc"] > 0.33  # guessing gives 0.1


def test_a_changed_copy_is_refused(cli, data):
    result = cli(
        f"fit --config cifar.yaml --data.root {data} --data.url http://127.0.0.1:1/x --trainer.accelerator cpu"
    )
    assert result.code == 2
    assert "--data.url" in result.err
