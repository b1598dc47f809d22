import errno
from pathlib import Path

import pytest

from lit_vision.errors import UserError
from lit_vision.trainer.errors import explain_compile_errors, explain_full_disks


def test_without_a_compiler_there_is_one_line():
    class InductorError(Exception):
        pass

    InductorError.__module__ = "torch._inductor.exc"
    advice = r"\(no compiler\): leave --model.compile out, or install .* a C\+\+ compiler"
    with pytest.raises(UserError, match=advice), explain_compile_errors():
        raise InductorError("no compiler\nand a page of advice")
    with pytest.raises(ValueError, match="other"), explain_compile_errors():
        raise ValueError("other")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_folder_and_the_remedy(number):
    with pytest.raises(UserError, match=r"runs/a .*--trainer.default_root_dir"), explain_full_disks(Path("runs/a")):
        raise OSError(number, "full")


def test_a_full_disk_says_to_resume_only_what_can_be(tmp_path):
    with pytest.raises(UserError, match="make room and start again"), explain_full_disks(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(UserError, match="make room and resume with --ckpt_path last"), explain_full_disks(tmp_path):
        raise OSError(errno.ENOSPC, "full")


def test_other_errors_of_the_disk_pass():
    with pytest.raises(PermissionError), explain_full_disks(Path("runs/a")):
        raise PermissionError(errno.EACCES, "denied")
