import shutil
from pathlib import Path

import pytest

from lit_vision.errors import UserError
from lit_vision.parsing.arguments import find_config, find_configs, shipped_configs, words_of_environment

SHIPPED = find_config("shapes.yaml").parent


@pytest.fixture
def run():
    """The folder of a run whose checkpoints are empty files."""
    folder = Path("lightning_logs/mine/version_0")
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.ckpt").touch()
    (folder / "config.yaml").write_text("name: mine\nmodel: {}\ndata: {}\ntrainer: {}\n")
    return folder


def test_a_file_wins_over_a_shipped_config_of_its_name():
    assert find_config("cifar.yaml").parent.name == "configs"
    Path("cifar.yaml").write_text("trainer: {max_epochs: 1}\n")
    assert find_config("cifar.yaml") == Path("cifar.yaml")


@pytest.mark.parametrize("name", [*shipped_configs(), "cifar"])
def test_a_shipped_config_is_found_with_and_without_its_suffix(name):
    assert find_config(name) == (SHIPPED / name).with_suffix(".yaml")


@pytest.mark.parametrize("content", ["- a list\n", "a: {b\n", "\xff"])
def test_a_file_that_is_not_a_config_is_refused(content):
    Path("mine.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"mine\.yaml"):
        find_config("mine.yaml")


def test_configs_come_first_in_their_order_and_the_last_one_names_the_run():
    Path("mine.yaml").write_text("trainer: {}\n")
    words = ["--model.lr", "1", "--config", "cifar.yaml", "--trainer.max_epochs=2", "-c", "mine.yaml"]
    first = ["--config", str(SHIPPED / "cifar.yaml"), "--config", "mine.yaml"]
    assert find_configs("fit", words) == ([*first, "--model.lr", "1", "--trainer.max_epochs=2"], "mine")


def test_without_a_config_there_is_the_default_or_what_model_and_data_say():
    shapes = ["--config", str(SHIPPED / "shapes.yaml")]
    assert find_configs("fit", ["--model.lr", "1"], "shapes.yaml") == ([*shapes, "--model.lr", "1"], "shapes")
    both = ["--model", "SmallCNN", "--data", "ShapesDataModule"]
    assert find_configs("fit", both, "shapes.yaml") == (both, "run")
    for words in (both[:2], both[2:]):
        with pytest.raises(UserError, match="fit needs a config or a checkpoint"):
            find_configs("fit", words, "shapes.yaml")
    with pytest.raises(UserError, match="test needs a config or a checkpoint"):
        find_configs("test", ["--model.lr", "1"])


@pytest.mark.parametrize("which", ["best", "last", "lightning_logs/mine/version_0/checkpoints/best.ckpt"])
def test_a_checkpoint_brings_the_config_of_its_run(run, which):
    checkpoint = run / "checkpoints" / ("last.ckpt" if which == "last" else "best.ckpt")
    words, _ = find_configs("test", ["--ckpt_path", which, "--verbose", "false"])
    assert words == ["--config", str(run / "config.yaml"), "--verbose", "false", "--ckpt_path", str(checkpoint)]


def test_a_config_of_ones_own_wins_over_that_of_the_checkpoint(run):
    words = ["--ckpt_path", "best", "--config", "cifar.yaml"]
    found, name = find_configs("test", words)
    assert found == ["--config", str(SHIPPED / "cifar.yaml"), "--ckpt_path", "best"]
    assert name == "cifar"


def test_a_checkpoint_is_looked_for_by_name_and_folder(run):
    shutil.copytree("lightning_logs", "elsewhere/lightning_logs")
    shutil.copytree(run, run.parents[1] / "other" / "version_0")
    found, _ = find_configs("test", ["--ckpt_path", "best", "--name", "other"])
    assert found[-1] == "lightning_logs/other/version_0/checkpoints/best.ckpt"
    found, _ = find_configs("test", ["--ckpt_path", "best", "--trainer.default_root_dir", "elsewhere"])
    assert found[-1] == "elsewhere/lightning_logs/mine/version_0/checkpoints/best.ckpt"
    with pytest.raises(UserError, match="nosuch"):
        find_configs("test", ["--ckpt_path", "best", "--name", "nosuch"])


def test_a_checkpoint_that_left_its_run_needs_a_config(run):
    (run / "checkpoints" / "best.ckpt").rename("away.ckpt")
    with pytest.raises(UserError, match=r"away\.ckpt.*--config"):
        find_configs("test", ["--ckpt_path", "away.ckpt"])


@pytest.mark.parametrize("option", ["class_names", "image_size", "mean", "std", "resize"])
@pytest.mark.parametrize("form", ["--model.{} 1", "--model.{}=1"])
def test_options_that_are_taken_from_the_data_are_refused(option, form):
    with pytest.raises(UserError, match=rf"--model\.{option}.*--data"):
        find_configs("fit", form.format(option).split())


def test_an_option_without_its_value_is_refused():
    with pytest.raises(UserError, match="--config"):
        find_configs("fit", ["--config"])


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("PL_TRAINER__MAX_EPOCHS", ["--trainer.max_epochs", "3"]),
        ("PL_LR_FIND__TRAINER__MAX_EPOCHS", ["--trainer.max_epochs", "3"]),
        ("PL_FIT__TRAINER__MAX_EPOCHS", []),
        ("PL_CONFIG", ["--config", "3"]),
        ("PL_LR_FIND__DATA", ["--data", "3"]),
        ("PL_DATA__ROOT", ["--data.root", "3"]),
        ("PL_GLOBAL_SEED", []),  # Lightning's own
        ("PL_TRAINER_MAX_EPOCHS", []),  # which Lightning's Trainer reads
    ],
)
def test_environment_variables(variable, words):
    assert words_of_environment("lr-find", {variable: "3", "PATH": "x"}) == words


def test_the_environment_of_one_command_overrides_that_of_all():
    environ = {"PL_FIT__TRAINER__MAX_EPOCHS": "1", "PL_TRAINER__MAX_EPOCHS": "2"}
    assert words_of_environment("fit", environ)[-1] == "1"
