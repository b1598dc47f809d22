"""Let writes, renames and syncs fail, or kill the run there: python tests/stress/faults_on_purpose.py [--quick].

Every trial starts the same fit with one fault in it. A failure must end in one line. Whatever the fault, each file that
is left must be whole, and the fit that goes on, or starts again if there is nothing to go on from, must end with the
weights and figures of one without a fault. At last, the guards are taken out, and the faults must be found.
"""

import argparse
import builtins
import errno
import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork must not need the threads of its parent

import yaml
from kill_and_resume import equal, outcome

import lit_vision.callbacks.config_file as config_file
import lit_vision.callbacks.epoch_log as epoch_log
import lit_vision.trainer.checkpoint_io as checkpoint_io
from lit_vision.cli import main
from lit_vision.utils.torch_file import find_damage

LINE = (
    "--config shapes.yaml --data.train_size 300 --data.val_size 100 --trainer.max_epochs 3 --trainer.accelerator cpu "
    "--checkpoint.every_n_steps 3 --name run"
)
OPERATIONS = ("write", "rename", "sync")
TARGETS = ("best", "last", "previous", "checkpoints", "config", "metrics")  # checkpoints is the folder itself
EFFECTS = ("no room", "broken disk", "killed before", "killed after")
QUICK = {("write", "last"), ("rename", "previous"), ("sync", "best"), ("write", "config")}
_ERRORS = {"no room": errno.ENOSPC, "broken disk": errno.EIO}
RUN = Path("lightning_logs/run/version_0")


class Fault(NamedTuple):
    """A fault: what happens at the n-th operation of a kind on a file."""

    operation: str
    target: str
    effect: str
    number: int


class FaultyFile:
    """A file that is written to, with a fault in its writes."""

    def __init__(self, file: Any, strike: Callable[[Callable[[], Any], Callable[[], Any]], Any]) -> None:
        self._file = file
        self._strike = strike

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "FaultyFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, content: Any) -> Any:
        """Write, or half of it."""

        def half() -> None:
            self._file.write(content[: len(content) // 2])
            self._file.flush()

        return self._strike(lambda: self._file.write(content), half)


def install(fault: Fault) -> None:
    """Put a fault into this process."""
    seen = 0

    def strike(work: Callable[[], Any], half: Callable[[], Any]) -> Any:
        nonlocal seen
        seen += 1
        if seen != fault.number:
            return work()
        half()
        if fault.effect == "killed after":
            work()
        if fault.effect in _ERRORS:
            raise OSError(_ERRORS[fault.effect], os.strerror(_ERRORS[fault.effect]))
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    def concerns(path: object, operation: str) -> bool:
        name = Path(os.fsdecode(path)).name if isinstance(path, str | bytes | os.PathLike) else ""
        return fault.operation == operation and f"{name.lstrip('.')}.".startswith(f"{fault.target}.")

    def wrap(operation: str, work: Callable[..., Any], path_of: Callable[..., object]) -> Callable[..., Any]:
        def wrapped(*words: Any, **more: Any) -> Any:
            if not concerns(path_of(*words), operation):
                return work(*words, **more)
            return strike(lambda: work(*words, **more), lambda: None)

        return wrapped

    opens = io.open

    def faulty_open(path: Any, mode: str = "r", *words: Any, **more: Any) -> Any:
        file = opens(path, mode, *words, **more)
        return FaultyFile(file, strike) if set(mode) & set("wax+") and concerns(path, "write") else file

    builtins.open = io.open = faulty_open  # type: ignore[assignment]
    for name in ("replace", "rename"):
        setattr(os, name, wrap("rename", getattr(os, name), lambda source, target: target))
    os.fsync = wrap("sync", os.fsync, lambda number: os.readlink(f"/proc/self/fd/{number}"))


def fit(words: str, folder: Path, fault: Fault | None = None) -> tuple[int, str]:
    """Run a fit in a process of its own; gives its exit code, or the signal that ended it as a negative number."""
    process = os.fork()  # which saves the seconds of importing everything again
    if not process:
        os.chdir(folder)
        with open("log.txt", "w") as log, open("errors.txt", "w") as errors:
            os.dup2(log.fileno(), 1)
            os.dup2(errors.fileno(), 2)
        code = 1
        try:
            if fault:
                install(fault)
            code = main(["fit", *words.split()])
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code, (folder / "errors.txt").read_text()


def is_config(path: Path) -> bool:
    """Whether a file is a whole config of a run."""
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        return False
    return isinstance(content, dict) and {"model", "data", "trainer"} <= content.keys()


def verdict(fault: Fault, folder: Path, expected: Any) -> str:
    """Run a fit with a fault, and say what is wrong with what is left.

    The fault in config.yaml is tried in a run that goes on, since there is nothing to lose before.

    Returns:
        What is wrong; "" if nothing is, "-" if the fault never came.
    """
    line = LINE
    if fault.target == "config":
        assert fit(f"{LINE} --trainer.max_epochs 1", folder)[0] == 0
        line = "--ckpt_path last --trainer.max_epochs 3"
    code, errors = fit(line, folder, fault)
    if code == 0:
        return "-"
    if fault.effect in _ERRORS and (code != 2 or len(errors.splitlines()) != 1):
        return f"ended with {code}: {errors[-300:]}"
    checkpoints = folder / RUN / "checkpoints"
    for path in checkpoints.glob("[!.]*.ckpt"):
        if damage := find_damage(path):
            return f"{path.name} is damaged: {damage}"
    goes_on = any((checkpoints / name).is_file() for name in ("last.ckpt", "previous.ckpt"))
    if goes_on and not is_config(folder / RUN / "config.yaml"):
        return "config.yaml is not whole"
    line = "--ckpt_path last --trainer.max_epochs 3" if goes_on else LINE
    if not goes_on and (folder / "lightning_logs").exists():
        (folder / "lightning_logs").rename(folder / "before")
    code, errors = fit(line, folder)
    if code:
        return f"the fit that follows ends with {code}: {errors[-300:]}"
    return "" if equal(outcome(folder), expected) else "the fit that follows ends with other weights or figures"


@contextmanager
def without_guards() -> Iterator[None]:
    """Let files be written in place."""

    @contextmanager
    def in_place(path: Path, lasting: bool = False) -> Iterator[Path]:
        yield path

    modules = (checkpoint_io, config_file, epoch_log)
    before = [module.atomic_write for module in modules]
    for module in modules:
        module.atomic_write = in_place  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.atomic_write = function


def table(quick: bool) -> Iterator[Fault]:
    """All faults that are tried."""
    for operation in OPERATIONS:
        for target in TARGETS:
            if quick and (operation, target) not in QUICK:
                continue
            for effect in (EFFECTS[1 + (operation == "rename")],) if quick else EFFECTS:
                for number in (1,) if target in ("config", "best") else (2,) if quick else (1, 2, 4):
                    yield Fault(operation, target, effect, number)


def stress(quick: bool) -> bool:
    """True if nothing was lost, and all faults were found without the guards."""
    wrong = came = 0
    with tempfile.TemporaryDirectory() as root:
        whole = Path(root) / "whole"
        whole.mkdir()
        assert fit(LINE, whole)[0] == 0
        expected = outcome(whole)

        def attempt(number: int, fault: Fault) -> str:
            folder = Path(root) / str(number)
            folder.mkdir()
            return verdict(fault, folder, expected)

        for number, fault in enumerate(table(quick)):
            found = attempt(number, fault)
            came += found != "-"
            wrong += found not in ("", "-")
            if found:
                print(f"{' '.join(map(str, fault))}: {'never came' if found == '-' else found}", flush=True)
        print(f"{came} faults, {wrong} wrong")
        with without_guards():
            for number, target in enumerate(("last", "config")):
                found = attempt(1000 + number, Fault("write", target, "killed before", 1 if target == "config" else 3))
                print(f"without its guard, {target}: {found or 'NOT FOUND'}", flush=True)
                wrong += found in ("", "-")
    return not wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try four of the faults")
    sys.exit(not stress(parser.parse_args().quick))
