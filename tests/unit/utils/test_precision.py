import pytest
import torch

from lit_vision.utils import precision


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_used_where_the_processor_multiplies_it(monkeypatch, fast, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast, raising=False)
    assert precision.has_fast_bfloat16("cpu") == fast
    assert precision.has_fast_bfloat16(torch.device("cpu")) == fast
    assert precision.fastest_precision("cpu") == expected


def test_the_accelerator_of_the_machine_decides(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert precision.fastest_precision("auto") == "bf16-mixed"
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("mps"))
    assert precision.fastest_precision("auto") == "32-true"
