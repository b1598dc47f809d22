import shutil
from pathlib import Path

import pytest
import torch
from helpers import weights

from lit_vision.errors import UserError
from lit_vision.models import Classifier
from lit_vision.trainer.errors import explain_compile_errors

TINY = "fit --config shapes.yaml --data.train_size 196 --data.val_size 100 --trainer.max_epochs 2 --model.compile true"


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_is_used_and_its_checkpoint_has_plain_names(cli):
    result = cli(f"{TINY} --pictures.embedding true")
    assert result.code == 0, result.err
    last = Path("lightning_logs/shapes/version_0/checkpoints/last.ckpt")
    assert cli(TINY.replace("compile true", "compile false")).code == 0
    plain = weights(Path("lightning_logs/shapes/version_1/checkpoints/last.ckpt"))
    compiled = weights(last)
    assert compiled.keys() == plain.keys()
    assert any(not torch.equal(compiled[name], plain[name]) for name in plain)  # other code rounds differently
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-3)
    assert Classifier.load_from_checkpoint(last)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_without_a_compiler_there_is_one_line():
    class InductorError(Exception):
        pass

    InductorError.__module__ = "torch._inductor.exc"
    advice = r"\(no compiler\): leave --model.compile out, or install .* a C\+\+ compiler"
    with pytest.raises(UserError, match=advice), explain_compile_errors():
        raise InductorError("no compiler\nand a page of advice")
    with pytest.raises(ValueError, match="other"), explain_compile_errors():
        raise ValueError("other")
