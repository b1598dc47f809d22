import pytest
import torch

from lit_vision.errors import UserError
from lit_vision.utils import torch_file
from lit_vision.utils.torch_file import checked, find_damage


@pytest.fixture(params=["before", "in a thread"])
def path(request, tmp_path, monkeypatch):
    """A file that is checked before it is read, or while it is read."""
    if request.param == "in a thread":
        monkeypatch.setattr(torch_file, "_WORTH_A_THREAD", 0)
    torch.save({"a": torch.ones(1000)}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_file_is_read(path):
    with checked(path):
        content = torch.load(path, weights_only=True)
    assert content["a"].all()
    assert find_damage(path) is None


def test_a_damaged_file_is_refused(path):
    damage(path)
    with (
        pytest.raises(UserError, match=r"is damaged \(its checksums do not match\): take another"),
        checked(path, "take another"),
    ):
        torch.load(path, weights_only=True)


def test_the_damage_replaces_the_error_that_it_caused(path):
    damage(path)
    with pytest.raises(UserError, match="is damaged"), checked(path):
        raise EOFError


def test_an_error_of_its_own_passes(path):
    with pytest.raises(EOFError), checked(path):
        raise EOFError


def test_a_file_in_the_format_without_checksums_is_read(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    with checked(path):
        assert torch.load(path, weights_only=True)["a"].all()


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 100])
def test_a_checkpoint_that_is_not_a_zip_file_is_damaged(tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    assert find_damage(tmp_path / "a.ckpt")
