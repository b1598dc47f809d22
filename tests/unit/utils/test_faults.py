import errno
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from lit_vision.data.hold_out import proportional
from lit_vision.utils.faults import explain, is_own_fault


def caught(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: Trainer(max_epochs=-5), "change the options of --trainer"),
        (lambda: Trainer(accelerator="cpu", devices=[0]), "change the options of --trainer"),
        (lambda: EarlyStopping("val/loss", mode="nosuch"), "change the options of --trainer"),
        (lambda: Path("nosuch/file").read_text(), "nosuch/file: No such file or directory"),
        (lambda: __import__("nosuch"), "install the package"),
        (lambda: torch.empty(2**60), "not enough memory"),
        (lambda: torch.ones(2) @ torch.ones(3), None),  # torch's own words, called by the user's code
    ],
)
def test_what_the_user_can_fix_is_one_line(function, words):
    message = explain(caught(function))
    if words is None:
        assert message is None
    else:
        assert words in message
        assert "\n" not in message


def test_a_full_disk_and_memory():
    assert "make room" in explain(OSError(errno.ENOSPC, "No space left on device", "x.ckpt"))
    assert "--data.batch_size" in explain(MemoryError())
    assert "--data.batch_size" in explain(torch.OutOfMemoryError("CUDA out of memory"))


def test_a_fault_of_ours_is_one():
    error = caught(lambda: proportional(1, None))
    assert explain(error) is None
    assert is_own_fault(error)


def test_a_fault_of_the_users_code_is_theirs(tmp_path, monkeypatch):
    (tmp_path / "my_code.py").write_text("def fail():\n    return [][1]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_code", None)
    import my_code

    error = caught(my_code.fail)
    assert explain(error) is None
    assert not is_own_fault(error)


def test_a_process_that_is_lost_is_no_fault_of_the_options():
    error = RuntimeError("[/x/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:30888: Connection reset by peer.")
    assert "another process of the run has ended" in explain(error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_refused_memory_is_named_whoever_was_refused(error):
    assert explain(error).startswith("not enough memory")
