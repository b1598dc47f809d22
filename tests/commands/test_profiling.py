import pytest
from helpers import TINY

pytestmark = pytest.mark.slow


def test_the_trainers_own_profiler_can_be_asked_for(cli):
    result = cli(f"{TINY} --trainer.max_epochs 1 --trainer.profiler simple")
    assert result.code == 0, result.err
    assert "Profiler Report" in result.out + result.err
    assert "run_training_batch" in result.out + result.err
    assert "Profiler Report" not in cli(f"{TINY} --trainer.max_epochs 1").out
