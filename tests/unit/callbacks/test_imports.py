"""Starting a run is quick: what is slow to import is imported when it is first used."""

import pytest

CODE = """
import sys
import lightning.pytorch, lightning.pytorch.loggers
before = set(sys.modules)
import lit_vision.callbacks, lit_vision.plots
print(*sorted(set(sys.modules) - before))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["matplotlib", "tensorboard", "torch.utils.tensorboard", "torch.jit._trace"])
def test_callbacks_do_not_import(imported, name):
    assert "lit_vision.callbacks" in imported
    assert [module for module in imported if module == name or module.startswith(f"{name}.")] == []
