"""The rank of this process, as launchers leave it in the environment."""

from collections.abc import MutableMapping

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where Lightning looks
_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE")


def drop_leftover_ranks(environ: MutableMapping[str, str]) -> None:
    """Remove ranks above 0 unless a launcher is at work, which also sets the number of processes or an address.

    A shell may have them from an earlier launch, and a process that takes itself for the second one of a run writes
    nothing.
    """
    sizes = [environ[name] for name in _SIZES if name in environ]
    if "MASTER_ADDR" in environ or any(size.isdigit() and int(size) > 1 for size in sizes):
        return
    for name in _RANKS:
        if environ.get(name, "0") != "0":
            del environ[name]
