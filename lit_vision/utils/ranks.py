"""The rank of this process, as launchers leave it in the environment."""

from collections.abc import MutableMapping

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where Lightning looks
_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE")


def drop_leftover_ranks(environ: MutableMapping[str, str]) -> None:
    """Remove ranks that nothing goes with: a launcher also sets the number of processes.

    A shell may have them from an earlier launch, and a process that takes itself for the second one of a run writes
    nothing.
    """
    sizes = [environ[name] for name in _SIZES if name in environ]
    if not any(size.isdigit() and int(size) > 1 for size in sizes):
        for name in _RANKS:
            environ.pop(name, None)
