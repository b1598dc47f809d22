import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import torch
import yaml
from torch import Tensor

from lit_vision.callbacks import ValidationReport
from lit_vision.callbacks.pictures import tiles_of
from lit_vision.callbacks.report_files import MISTAKES, OPTIONAL_FILES, Report
from lit_vision.callbacks.run_folder import run_folder
from lit_vision.commands import COMMANDS
from lit_vision.commands.fit import FitCLI, train
from lit_vision.data import ImageDataModule
from lit_vision.data.decoding import read_image
from lit_vision.data.fingerprint import fingerprint
from lit_vision.data.image_names import file_name, image_names
from lit_vision.data.sources.files import FileDataModule
from lit_vision.errors import UserError
from lit_vision.insight.intervals import spread, with_interval
from lit_vision.insight.predictions import Predicted, read_predictions
from lit_vision.metrics import Predictions
from lit_vision.models.checkpoint import read_checkpoint
from lit_vision.parsing.arguments import find_configs, take_option
from lit_vision.parsing.config_content import read_config
from lit_vision.parsing.help import wants_help
from lit_vision.runs import BEST, CHECKPOINTS, CONFIG, LAST, PREDICTIONS, REPORT_TEXT, REPORT_VAL, run_folders
from lit_vision.trainer.factory import make_evaluation_trainer
from lit_vision.utils.files import write_together
from lit_vision.utils.log import log_info

_K = 5
_FOLDER = "folds"
_PLACE = ("accelerator", "devices", "strategy", "limit_val_batches", "deterministic")
"""Options of the Trainer that evaluation shares with training."""

_SETTINGS = ("name", "seed_everything", "data", "model", "trainer", "checkpoint")
"""The sections of config.yaml that make two runs the same."""

Fold = dict[str, Predicted]
"""The predictions for the images of a fold, by their names."""


class FoldCLI(FitCLI):
    """The run of one fold."""

    command = "folds"
    one_of_many = True


def folds(words: list[str]) -> None:
    """Train a network for each of k stratified folds, and predict each training image with the one that did not see it.

    The runs are under one name. A command that is given again goes on where the last one stopped.

    Args:
        words: the command line after ``folds``.

    Raises:
        UserError: k is not a number of folds, or a class has fewer images than that.
    """
    if wants_help("folds", COMMANDS["folds"].summary, words):
        return
    if any(word.partition("=")[0] in ("--ckpt_path", "--data.val_fold") for word in words):
        raise UserError("folds chooses the images and goes on by itself: leave --ckpt_path and --data.val_fold out")
    command = f"lit-vision folds {shlex.join(words)}"
    given, words = take_option(words, "--k")
    k = _read_k(given[-1]) if given else _K
    names, words = take_option(words, "--name")
    name = names[-1] if names else f"{find_configs('folds', words, FitCLI.default_config).name}_folds"
    found: list[Fold] = []
    for fold in range(1, k + 1):
        run = FoldCLI([*words, "--name", name, "--data.val_fold", f"{fold}/{k}"])
        log_info(f"\nfold {fold} of {k}")
        found.append(_out_of_fold(run))
    print()
    for fold, part in enumerate(found, start=1):
        print(f"fold {fold:<6} {with_interval(_accuracy(part), len(part))}")
    mean, deviation = spread([_accuracy(part) for part in found])
    print(f"mean        {mean:.4f}, standard deviation of the folds {deviation:.4f}")
    _write_report(run.logs / name / _FOLDER, found, run.datamodule, command)


def _read_k(word: str) -> int:
    if not word.isdecimal() or int(word) < 2:
        raise UserError(f"k {word} is not a number of folds: set --k to 2 or more")
    return int(word)


def _out_of_fold(run: FitCLI) -> Fold:
    """Train on the other folds, unless that was done before, and return the predictions for this one."""
    trainer = run.trainer
    if trainer.world_size > 1:
        raise UserError("folds trains in one process: set --trainer.devices to 1")
    whole = isinstance(trainer.limit_val_batches, float) and trainer.limit_val_batches == 1  # the number 1 is one batch
    if trainer.fast_dev_run or not whole or not trainer.checkpoint_callbacks:  # type: ignore[attr-defined]
        raise UserError(
            "folds needs a checkpoint and a validation of each fold: leave --trainer.fast_dev_run, limit_val_batches "
            "and enable_checkpointing false out"
        )
    folder = _find(run)
    if folder is not None and _is_done(folder):
        log_info(f"done before: {folder}")
        return read_predictions(_report(folder))
    if folder is not None:
        run = FoldCLI([*run.words, "--ckpt_path", str(folder / CHECKPOINTS / LAST)])
    train(run)
    folder = run_folder(run.trainer)
    assert folder is not None
    _predict(run, folder / CHECKPOINTS)
    return read_predictions(_report(folder))


def _predict(run: FitCLI, checkpoints: Path) -> None:
    """Predict the images of the fold with the network that was trained on the others."""
    chosen = checkpoints / (BEST if (checkpoints / BEST).is_file() else LAST)
    report = ValidationReport(checkpoints / REPORT_VAL, chosen, pictures=False)
    options = {name: value for name, value in run.config_init.trainer.as_dict().items() if name in _PLACE}
    trainer = make_evaluation_trainer(
        **options, precision=run.trainer.precision, callbacks=[report], logger=False, enable_progress_bar=False
    )
    trainer.validate(run.model, run.datamodule, ckpt_path=chosen, verbose=False, weights_only=True)


def _find(run: FitCLI) -> Path | None:
    """The folder of an earlier run with the same settings and images; None if there is none."""
    ours = yaml.safe_load(run.dump(run.saved_config))
    found = []
    for folder in run_folders(run.logs, run.config.name):
        with suppress(UserError, OSError):  # what cannot be read is another run
            theirs = read_config(folder / CONFIG)
            if all(theirs.get(key) == ours.get(key) for key in _SETTINGS) and _has_the_images(run.datamodule, folder):
                found.append((_is_done(folder), (folder / CHECKPOINTS / LAST).stat().st_mtime, folder))
    return max(found)[2] if found else None


def _has_the_images(data: ImageDataModule, folder: Path) -> bool:
    """Whether a run was trained on the images of the other folds, and predicted those of this one, if it did."""
    data.prepare_data()
    parts = data.hold_out.divide(data.used("train"), data.class_names)
    ours = fingerprint(parts["train"], "", None)
    state = read_checkpoint(folder / CHECKPOINTS / LAST).get(type(data).__qualname__) or {}
    theirs = state.get("fingerprint") or {}
    if any(theirs.get(name) != ours[name] for name in ("images", "names", "labels")):
        return False
    names = image_names(parts["val"], data.root, "train")
    return not _is_done(folder) or set(names) == read_predictions(_report(folder)).keys()


def _report(folder: Path) -> Path:
    return folder / CHECKPOINTS / REPORT_VAL


def _is_done(folder: Path) -> bool:
    return (_report(folder) / PREDICTIONS).is_file()


def _accuracy(predictions: Fold) -> float:
    return sum(found.is_right for found in predictions.values()) / len(predictions)


def _write_report(folder: Path, found: Sequence[Fold], data: ImageDataModule, command: str) -> None:
    """Write one report over all folds."""
    every = {name: row for part in found for name, row in part.items()}
    number = {name: label for label, name in enumerate(data.class_names)}
    rows, names = list(every.values()), list(every)
    predictions = Predictions(
        torch.arange(len(rows)),
        torch.tensor([number[row.label] for row in rows]),
        torch.tensor([number[row.predicted] for row in rows]),
        torch.tensor([row.probability for row in rows]),
        torch.tensor([row.uncalibrated for row in rows]),
    )
    mistakes = predictions.mistakes().first(MISTAKES)
    images = _images(data, [names[index] for index in mistakes.index.tolist()])
    report = Report(
        title=f"{len(found)} folds",
        facts={
            "runs": str(folder.parent),
            "data": f"{type(data).__name__}, {data.root}, the training images",
            "independent": "each image was predicted by the network that did not train on it; the fold that it is in "
            "chose the epoch and the temperature",
            "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "command": command,
        },
        loss=None,
        predictions=predictions,
        class_names=data.class_names,
        names=names,
        tiles=tiles_of(images, mistakes, data.class_names, names),
        heatmaps=[],
        calibrated="the temperature of each fold",
        answers=None,
        more={"fold": [str(fold) for fold, part in enumerate(found, start=1) for _ in part]},
    )
    write_together(folder, report.files(), OPTIONAL_FILES)
    print(f"all         {report.accuracy}")
    print(f"report      {folder / REPORT_TEXT}")


def _images(data: ImageDataModule, names: Sequence[str]) -> list[Tensor]:
    """The training images of these names, (3, H, W) uint8."""
    if isinstance(data, FileDataModule):
        files = {file_name(entry.path, data.root): entry.path for entry in data.listing.splits["train"]}
        return [read_image(files[name], data.image_size, data.resize, data.decoding) for name in names]
    images = data.load("train").images
    return [images[int(name.rpartition("/")[2])] for name in names]
