import shutil

import pytest
import torch
from helpers import RUN, TINY, weights

from lit_vision.models import Classifier

COMPILED = f"{TINY} --data.train_size 196 --trainer.max_epochs 2 --model.compile true"


pytestmark = pytest.mark.slow


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_is_used_and_its_checkpoint_has_plain_names(cli):
    result = cli(f"{COMPILED} --pictures.embedding true")
    assert result.code == 0, result.err
    last = RUN / "checkpoints" / "last.ckpt"
    assert cli(COMPILED.replace("compile true", "compile false")).code == 0
    plain = weights(RUN.with_name("version_1") / "checkpoints" / "last.ckpt")
    compiled = weights(last)
    assert compiled.keys() == plain.keys()
    assert any(not torch.equal(compiled[name], plain[name]) for name in plain)  # other code rounds differently
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-3)
    assert Classifier.load_from_checkpoint(last)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
