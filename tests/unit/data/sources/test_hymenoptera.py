import hashlib
import io
import zipfile

import pytest
from PIL import Image

from lit_vision.data import HymenopteraDataModule
from lit_vision.data.sources import hymenoptera as source
from lit_vision.errors import UserError


def packed(*more):
    """A small archive in the layout of the real one."""
    pixels = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 0, 0)).save(pixels, "JPEG")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for split in ("train", "val"):
            for name in ("ants", "bees"):
                for number in range(3):
                    archive.writestr(f"hymenoptera_data/{split}/{name}/an image {number}.jpg", pixels.getvalue())
        archive.writestr("hymenoptera_data/train/ants/imageNotFound.gif", b"GIF89a")
        for name in more:
            archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.fixture
def expect(monkeypatch):
    """Take these bytes for the official archive."""
    return lambda content: monkeypatch.setattr(source, "_SHA256", hashlib.sha256(content).hexdigest())


def test_downloads_unpacks_and_leaves_the_placeholder_out(tmp_path, serve, expect):
    content = packed()
    expect(content)
    module = HymenopteraDataModule(tmp_path, image_size=16, url=serve(content))
    module.prepare_data()
    assert [path.name for path in tmp_path.iterdir()] == ["hymenoptera_data"]
    module.setup("fit")
    assert module.class_names == ["ants", "bees"]
    assert [sum(len(b.label) for b in loader) for loader in (module.train_dataloader(), module.val_dataloader())] == [
        6,
        6,
    ]
    HymenopteraDataModule(tmp_path, url="http://127.0.0.1:1/gone").prepare_data()  # what is there is used


@pytest.mark.parametrize("case", ["truncated", "wrong", "404"])
def test_failed_downloads_leave_nothing(tmp_path, serve, expect, case):
    content = packed()
    expect(content)
    url = {
        "truncated": lambda: serve(content[:-100], length=len(content)),
        "wrong": lambda: serve(content[:-1] + b"x"),
        "404": lambda: serve(b"no", status=404),
    }[case]()
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*--data\.url"):
        HymenopteraDataModule(tmp_path / "data", url=url).prepare_data()
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_that_writes_elsewhere_is_refused(tmp_path, serve, expect):
    content = packed("../outside.txt")
    expect(content)
    with pytest.raises(UserError, match=r"outside its folder \(\.\./outside\.txt\)"):
        HymenopteraDataModule(tmp_path / "data", url=serve(content)).prepare_data()
    assert not list(tmp_path.rglob("outside.txt"))
    assert not (tmp_path / "data" / "hymenoptera_data").exists()
