import csv
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from lit_vision.data.images import WORTH_A_THREAD, Resize, list_images, read_image
from lit_vision.data.transforms import to_float
from lit_vision.errors import UserError
from lit_vision.models import Classifier, Predictor
from lit_vision.plots import Tile, plot_grid
from lit_vision.runs import LOGS, find_checkpoint
from lit_vision.utils.files import atomic_write, check_output

_BATCH_VALUES = 2**21  # float32 values of one batch, 8 MB: as in evaluation
_GRID = 64  # images


class Prediction(NamedTuple):
    """What a network makes of one file.

    Attributes:
        path: of the file.
        image: (3, image_size, image_size) uint8, as the network gets it; None if it cannot be read.
        probabilities: one for each class, in [0, 1]; none if it cannot be read.
        error: why it cannot be read.
    """

    path: Path
    image: Tensor | None
    probabilities: list[float]
    error: str = ""


def predict(
    images: Sequence[str],
    ckpt_path: str,
    output: str | None = None,
    grid: str | None = None,
    top: int = 3,
    name: str | None = None,
    device: str | None = None,
    tta: bool | None = None,
) -> int:
    """Say what is on pictures.

    Args:
        images: files and folders; of a folder all images in it and in its folders.
        ckpt_path: a checkpoint, or best or last of the newest run.
        output: CSV file to write, with the columns path, label and probability, one for each class, and error; without
            it a line for each image is printed.
        grid: PNG file to write, the first 64 images over what the network takes them for.
        top: guesses to print for each image.
        name: of the runs to look for best or last in; by default all.
        device: such as cpu or cuda:1; by default the accelerator, if there is one.
        tta: take the mean over six views of every image; by default as the run was told to.

    Returns:
        The number of files that could not be read.

    Raises:
        UserError: there is no such checkpoint, file or device, or no image in a folder.
    """
    if top < 1:
        raise UserError(f"top {top} is too small: give at least 1 with --top")
    model = Classifier.load_from_checkpoint(find_checkpoint(ckpt_path, Path(LOGS), name))
    model.tta = model.tta if tta is None else tta
    names = model.class_names
    paths = [path for image in images for path in _files(Path(image))]
    unreadable = 0
    tiles: list[Tile] = []
    for option, file, suffix in (("--output", output, None), ("--grid", grid, ".png")):
        if file is not None:
            check_output(Path(file), option, suffix)
            if any(Path(file).exists() and path.samefile(file) for path in paths):
                raise UserError(f"{file} is one of the images: give {option} another name")
    with _table(output, names) as table, tqdm(total=len(paths), unit=" images", leave=False, disable=None) as bar:
        for path, image, probabilities, error in predictions(model, paths, device):
            bar.update()
            if image is None:
                unreadable += 1
                tqdm.write(f"warning: {error}", file=sys.stderr)
                if table is not None:
                    table.writerow([path, *[""] * (2 + len(names)), error])
                continue
            guesses = sorted(zip(probabilities, names, strict=True), key=lambda guess: -guess[0])
            probability, label = guesses[0]
            if table is not None:
                table.writerow([path, label, probability, *probabilities, ""])
            if len(paths) == 1 or output is None:
                words = [f"{label} {probability:.1%}" for probability, label in guesses[:top]]
                tqdm.write("\n".join(words) if len(paths) == 1 else f"{path}  {', '.join(words)}", file=sys.stdout)
            if grid is not None and len(tiles) < _GRID:
                tiles.append(Tile(image, [f"{label} {probability:.0%}"]))
    if output is not None:
        print(f"{output}: {len(paths):,} images")
    if grid is not None and tiles:
        with atomic_write(Path(grid)) as beside:
            plot_grid(tiles).save(beside)
        print(f"{grid}: {len(tiles)} images")
    return unreadable


@torch.inference_mode()
def predictions(model: Classifier, paths: Sequence[Path], device: str | None = None) -> Iterator[Prediction]:
    """What a trained network makes of image files, in their order, a few batches in memory at a time.

    Args:
        model: the network, which knows how images are to be prepared.
        paths: of the files.
        device: as for :func:`predict`.

    Raises:
        UserError: there is no such device.
    """
    network = Predictor(model).to(_device(device))
    for batch in _decoded(paths, model.hparams["image_size"], model.hparams["resize"]):
        images = [image for _, image in batch if isinstance(image, Tensor)]
        found: Iterator[list[float]] = iter(())
        if images:
            found = iter(network(to_float(torch.stack(images).to(network.mean.device))).tolist())
        for path, image in batch:
            if isinstance(image, UserError):
                yield Prediction(path, None, [], str(image))
            else:
                yield Prediction(path, image, next(found))


def _decoded(paths: Sequence[Path], side: int, resize: Resize) -> Iterator[list[tuple[Path, Tensor | UserError]]]:
    """Batches of files with their images, or with what is wrong with them; large ones are decoded by threads ahead."""

    def read(path: Path) -> tuple[Path, Tensor | UserError]:
        try:
            return path, read_image(path, side, resize)
        except UserError as error:
            return path, error

    def read_chunk(chunk: Sequence[Path]) -> list[tuple[Path, Tensor | UserError]]:
        return [read(path) for path in chunk]

    size = max(1, _BATCH_VALUES // (3 * side**2))
    chunks = (paths[start : start + size] for start in range(0, len(paths), size))
    start = time.perf_counter()
    first = read_chunk(next(chunks, []))
    seconds = time.perf_counter() - start
    yield first
    if seconds < WORTH_A_THREAD * len(first):
        yield from map(read_chunk, chunks)
        return
    workers = os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    ahead = deque(pool.submit(read_chunk, chunk) for chunk in islice(chunks, workers + 1))
    try:
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(read_chunk, chunk) for chunk in islice(chunks, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = list_images(path)
        if not files:
            raise UserError(f"{path} has no images in it: give --images files or a folder that has some")
        return files
    if not path.exists():
        raise UserError(f"there is no {path}: give --images files or folders")
    return [path]


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.zeros(1, device=name).cpu()  # there are devices that exist and cannot compute
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"there is no device {name} ({error}): use another --device, such as cpu") from error
    return torch.device(name)


@contextmanager
def _table(path: str | None, class_names: Sequence[str]) -> Iterator[Any]:
    """A CSV writer, or None without a path."""
    if path is None:
        yield None
        return
    # file names may be any bytes, and are written as such
    with (
        atomic_write(Path(path)) as beside,
        beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "label", "probability", *class_names, "error"])
        yield writer
