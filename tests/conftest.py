import http.server
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests run in parallel, one for each core

import pytest
from helpers import Result, run
from PIL import Image


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder, with none of the caller's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())  # the command line appends the folder, for classes in it
    monkeypatch.setenv("LIT_VISION_CACHE", f"{tmp_path}-cache")
    for name in ("LIT_VISION_DATA", "LIT_VISION_DEBUG", "PL_GLOBAL_SEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


@pytest.fixture
def cli(capfd) -> Callable[..., Result]:
    """Run a command line in this process; words may be given as one string."""
    from lit_vision.cli import main

    def run(line: str, *more: str) -> Result:
        capfd.readouterr()
        os.environ.pop("PL_GLOBAL_SEED", None)
        code = main([*line.split(), *more])
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def _fits() -> dict[str, tuple[Path, Result]]:
    return {}


@pytest.fixture
def fitted(cli, _fits, tmp_path_factory) -> Callable[[str], Result]:
    """Like ``cli``, for the fit that a test starts from: the first test runs it, the others get a copy of its files."""

    def run(line: str) -> Result:
        logs = Path("lightning_logs")
        assert not logs.exists()
        if line in _fits:
            shutil.copytree(_fits[line][0], logs)
        else:
            result = cli(line)
            assert result.code == 0, result.err
            _fits[line] = tmp_path_factory.mktemp("fit") / "lightning_logs", result
            shutil.copytree(logs, _fits[line][0])
        return _fits[line][1]

    return run


@pytest.fixture
def interrupted(cli, monkeypatch) -> Callable[..., Result]:
    """Run a fit that gets Ctrl-C at the end of its n-th batch: interrupted(9, "fit ...")."""
    Path("interrupt.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Interrupt(Callback):\n"
        "    def __init__(self, batch: int):\n"
        "        self.left = batch\n"
        "    def on_train_batch_end(self, *args):\n"
        "        self.left -= 1\n"
        "        if self.left == 0:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    sys.modules.pop("interrupt", None)

    def run(batch: int, line: str) -> Result:
        options = f"--trainer.callbacks+=interrupt.Interrupt --trainer.callbacks.batch {batch}"
        return cli(f"{line} {options}")

    return run


@pytest.fixture
def process() -> Callable[..., Result]:
    """Run Python with the given words in a process of its own."""
    return lambda *words, **env: run([sys.executable, *words], **env)


@pytest.fixture
def folders(tmp_path) -> Callable[..., Path]:
    """Make root/SPLIT/CLASS/N.png: folders({"train": {"red": 4, "blue": 4}}), one plain colour per class."""

    def make(splits: dict[str, dict[str, int]], size: int = 32, name: str = "images") -> Path:
        for split, classes in splits.items():
            for name_, count in classes.items():
                folder = tmp_path / name / split / name_
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    shade = 255 - 5 * (number % 20)
                    colour = {"red": (shade, 0, 0), "blue": (0, 0, shade)}.get(name_, (0, shade, 0))
                    Image.new("RGB", (size, size), colour).save(folder / f"{number}.png")
        return tmp_path / name

    return make


@pytest.fixture
def serve():
    """Serve bytes over HTTP: serve(content, length=..., status=...) gives the URL, of the file archive."""
    servers = []

    def start(content, length=None, status=200):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/archive"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
