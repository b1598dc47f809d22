import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn
from typing_extensions import override

from lit_vision.commands import COMMANDS
from lit_vision.data import ImageDataModule
from lit_vision.errors import UserError
from lit_vision.insight.check_report import class_table, summary, write_check_report
from lit_vision.insight.duplicates import groups_of
from lit_vision.insight.findings import describe_pairs, describe_suspects, find_broken, find_pairs, leaks
from lit_vision.insight.label_noise import find_suspects, out_of_fold
from lit_vision.insight.whole_set import WholeSet
from lit_vision.models import TransferClassifier, pretrained_input
from lit_vision.parsing.arguments import take_option
from lit_vision.parsing.help import wants_help
from lit_vision.parsing.vision_cli import VisionCLI
from lit_vision.runs import REPORT_TEXT
from lit_vision.trainer.factory import make_evaluation_trainer
from lit_vision.utils.files import ensure_writable

_OUTPUT = "check"
_ARCH = "mobilenet_v2"
"""The network that is used if the command line names none; its weights are loaded later, if they can be had."""

_NAMES_A_NETWORK = {"--config", "-c", "--ckpt_path", "--model"}
_MOST_CLASSES = 30  # whose images are counted on the terminal; the report has all
_FEWEST = 20  # images, for networks that learn the labels of the others


class CheckCLI(VisionCLI):
    """The run of ``lit-vision check``, which trains nothing."""

    command = "check"
    default_config = "photos.yaml"

    @override
    def make_trainer(self, options: dict[str, Any]) -> Trainer:
        return make_evaluation_trainer(**{**options, "logger": False})


def check(words: list[str]) -> int:
    """Look for broken files, copies and wrong labels, and write a report.

    Args:
        words: the command line after ``check``.

    Returns:
        0, or 1 if a file is broken or a picture is in two splits.

    Raises:
        UserError: the data is missing, or the report cannot be written.
    """
    if wants_help("check", COMMANDS["check"].summary, words):
        return 0
    command = f"lit-vision check {shlex.join(words)}"
    outputs, words = take_option(words, "--output")
    folder = Path(outputs[-1] if outputs else _OUTPUT)
    ensure_writable(folder, "--output")
    backbone, data, unchecked = _parse(words)
    if data.exclude.table is not None and data.exclude.table.resolve().parent == folder.resolve():
        raise UserError(
            f"{data.exclude.table} would be written anew: set --output to another folder, or move the table"
        )
    data.prepare_data()
    whole = WholeSet(data)
    items = whole.items()
    readable = [position for position, item in enumerate(items) if not item.look.problem]
    pairs = find_pairs(items)
    findings = [*find_broken(items), *describe_pairs(items, pairs, data.class_names)]
    is_bad = bool(len(readable) < len(items) or leaks(items, findings))
    if len(readable) < _FEWEST:
        unchecked = "not checked, since there are too few images"
    if backbone is not None and not unchecked:
        device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        features = whole.features(backbone, readable, device)
        labels, groups = torch.tensor([item.label for item in items])[readable], groups_of(len(items), pairs)[readable]
        suspects = find_suspects(out_of_fold(features, labels, len(data.class_names), groups), labels)
        findings += describe_suspects(suspects, readable)
    found = summary(items, findings, unchecked)
    date = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    facts = {"data": f"{type(data).__name__}, {data.root}", "date": date, "command": f"`{command}`", **found}
    write_check_report(folder, items, findings, data.class_names, whole.picture, facts)
    if len(data.class_names) <= _MOST_CLASSES:
        print("\n".join([*class_table(items, data.class_names), ""]))
    for name, text in found.items():
        print(f"{name:<10} {text}")
    print(f"report     {folder / REPORT_TEXT}")
    return 1 if is_bad else 0


def _parse(words: list[str]) -> tuple[nn.Module | None, ImageDataModule, str]:
    """The backbone that labels are checked with, the data, and the reason if labels cannot be checked."""
    given = {word.partition("=")[0] for word in words}
    if not _NAMES_A_NETWORK & given:
        data = [] if "--data" in given else ["--data", "ImageFolderDataModule"]
        side, mean, std, resize, _ = pretrained_input(_ARCH)
        prepared = {"image_size": side, "mean": list(mean), "std": list(std), "resize": resize}
        options = [word for name, value in prepared.items() for word in (f"--data.{name}", str(value))]
        model = ["--model", "TransferClassifier", "--model.arch", _ARCH, "--model.weights", "null"]
        run = CheckCLI([*data, *model, *options, *words])
        assert isinstance(run.model, TransferClassifier)
        try:
            if run.config.model.init_args.weights is None:
                run.model.load_weights("DEFAULT")
        except UserError as error:
            return None, run.datamodule, f"not checked: {str(error).split(':')[0]}; --model.weights names a file"
        return run.model.backbone, run.datamodule, ""
    run = CheckCLI(words)
    if run.trained is not None and run.trained["hyper_parameters"].get("unfreeze", "head") != "head":
        return None, run.datamodule, "not checked: the network of the checkpoint has learned from these labels"
    if run.trained is not None:
        run.model.load_state_dict(run.trained["state_dict"])
    if not isinstance(run.model, TransferClassifier) or not (run.trained or run.config.model.init_args.weights):
        reason = "not checked: that needs a pretrained network, such as that of --config photos.yaml"
        return None, run.datamodule, reason
    return run.model.backbone, run.datamodule, ""
