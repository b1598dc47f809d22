import hashlib
import io
import pickle
import socket
import tarfile

import numpy as np
import pytest
import torch
from torchvision import datasets

from lit_vision.data import CIFAR10DataModule
from lit_vision.errors import UserError

FOLDER = "cifar-10-batches-py"


@pytest.fixture
def archive(monkeypatch):
    """A small CIFAR-10 in the official layout; torchvision is told its md5s."""
    rng = np.random.default_rng(0)
    files = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        labels = rng.integers(0, 10, 20)
        data = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        data[:, 0] = labels  # so that a test sees whether images keep their labels
        files[name] = pickle.dumps({"labels": labels.tolist(), "data": data})
    files["batches.meta"] = pickle.dumps({"label_names": CIFAR10DataModule.class_names})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    cifar = datasets.CIFAR10
    monkeypatch.setattr(cifar, "tgz_md5", hashlib.md5(buffer.getvalue()).hexdigest())
    monkeypatch.setattr(cifar, "train_list", [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(cifar, "meta", {**cifar.meta, "md5": md5["batches.meta"]})
    return buffer.getvalue()


def test_downloads_on_first_use_and_not_again(tmp_path, archive, serve, capfd):
    module = CIFAR10DataModule(tmp_path / "data", val_size=10, url=serve(archive), seed=0)
    module.prepare_data()
    assert "100%" in capfd.readouterr().err  # the progress bar
    module.setup("fit")
    module.setup("test")
    counts = [sum(len(b.label) for b in getattr(module, f"{s}_dataloader")()) for s in ("train", "val", "test")]
    assert counts == [90, 10, 20]
    for batch in module.train_dataloader():
        assert batch.image.shape[1:] == (3, 32, 32)
        assert torch.equal(batch.image[:, 0, 0, 0].long(), batch.label)
    CIFAR10DataModule(tmp_path / "data", url="http://127.0.0.1:1/gone").prepare_data()


@pytest.mark.parametrize("case", ["truncated", "wrong", "404", "refused"])
def test_failed_downloads_leave_nothing_and_say_what_to_do(tmp_path, archive, serve, case):
    if case == "refused":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/x.tar.gz"
    else:
        url = {
            "truncated": lambda: serve(archive[:-100], length=len(archive)),
            "wrong": lambda: serve(archive[:-1] + b"x"),
            "404": lambda: serve(b"no", status=404),
        }[case]()
    module = CIFAR10DataModule(tmp_path / "data", url=url)
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*--data\.url"):
        module.prepare_data()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_damaged_copy_is_fetched_again(tmp_path, archive, serve):
    module = CIFAR10DataModule(tmp_path, val_size=10, url=serve(archive))
    module.prepare_data()
    (tmp_path / FOLDER / "data_batch_2").write_bytes(b"half")
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive[:50])  # as a killed download leaves it
    module.prepare_data()
    module.setup("fit")


def test_root_that_is_a_file(tmp_path, archive):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"is a file.*--data\.root"):
        CIFAR10DataModule(tmp_path / "file").prepare_data()
