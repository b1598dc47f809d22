import re

import pytest
import yaml


def options_of(page):
    """Name and help text of each option on a page of help."""
    found = re.findall(r"^ +(--[\w.+]+)[^\n]*((?:\n {20,}[^\n]*)*)", page, re.MULTILINE)
    lines = {match[0]: match for match in re.finditer(r"^ +--[^\n]*(?:\n {20,}[^\n]*)*", page, re.MULTILINE)}
    texts = [" ".join(re.split(r" {2,}|\n", text.strip())[1:]) for text in lines]
    return {name: " ".join(text.split()) for (name, _), text in zip(found, texts, strict=True)}


def keys_of(config, prefix=""):
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys_of(value, prefix if key == "init_args" else f"{prefix}{key}.")


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        *(f"{command} --help" for command in ("fit", "validate", "test", "predict", "export", "lr-find")),
        "fit --model.help SmallCNN",
    ],
)
def test_help(cli, words):
    result = cli(words)
    assert (result.code, result.err) == (0, "")
    assert "usage: " in result.out or "conv1" in result.out
    assert ":func:" not in result.out
    assert "``" not in result.out


@pytest.mark.parametrize("command", ["fit", "validate", "test", "lr-find"])
def test_every_option_on_the_page_of_help_exists(cli, command):
    given = "--config shapes.yaml"
    known = set(keys_of(yaml.safe_load(cli(f"{command} {given} --print_config").out)))
    shown = {option.removeprefix("--") for option in options_of(cli(f"{command} --help").out)}
    assert shown - known <= {"config", "print_config", "data.help", "model.help"}
    ours = {key for key in known if re.match(r"(seed|name|ckpt|min_lr|max_lr|num_training|verbose)", key)}
    assert ours <= shown
    assert {"model.lr", "data.batch_size", "trainer.max_epochs"} <= shown


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "export", "lr-find"])
def test_every_option_on_the_page_of_help_has_a_text(cli, command):
    options = options_of(cli(f"{command} --help").out)
    assert len(options) > 4
    for option, text in options.items():
        assert len(text) > 10, option
        assert re.match(r"[A-Z\[]|\w+: ", text), (option, text)


def test_every_option_of_ours_has_help_text(cli):
    for words in (
        "fit --model.help SmallCNN",
        "fit --model.help TransferClassifier",
        "fit --model.help WhitenedCNN",
        "fit --data.help CIFAR10DataModule",
        "fit --data.help HymenopteraDataModule",
        "fit --data.help ImageFolderDataModule",
        "fit --data.help ImageTableDataModule",
        "fit --data.help ShapesDataModule",
    ):
        lines = cli(words).out.splitlines()
        options = [i for i, line in enumerate(lines) if line.strip().startswith("--") and ".help" not in line]
        assert len(options) > 8
        for i in options:
            text = lines[i].split("  ")[-1].strip() if "  " in lines[i].strip() else lines[i + 1].strip()
            assert len(text) > 10, lines[i]
            assert not text.startswith("(type"), lines[i]
