import pytest

from lit_vision.utils.ranks import drop_leftover_ranks


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({"RANK": "1"}, set()),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "1"}, set()),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "1"}, set()),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, {"RANK", "LOCAL_RANK"}),  # torchrun with one process
        ({"LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1"}, {"LOCAL_RANK"}),
        ({"RANK": "1", "WORLD_SIZE": "2"}, {"RANK"}),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, {"SLURM_PROCID"}),
        ({}, set()),
    ],
)
def test_ranks_without_other_processes_are_dropped(environ, kept):
    drop_leftover_ranks(environ)
    assert {name for name in environ if name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")} == kept
