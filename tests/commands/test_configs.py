from pathlib import Path

import pytest
import torch
import yaml
from helpers import QUICK, REPOSITORY, RUN, rows_of


@pytest.mark.parametrize("config", sorted(path.name for path in (REPOSITORY / "lit_vision" / "configs").glob("*.yaml")))
def test_every_shipped_config_is_accepted(cli, config):
    result = cli(f"fit --config {config} --print_config")
    assert result.code == 0
    assert yaml.safe_load(result.out)["model"]["class_path"]


@pytest.mark.slow
def test_config_of_a_run_runs_it_again(cli):
    cli(f"fit --config shapes.yaml {QUICK} 1 --model.lr 0.05 --name tried")
    run = Path("lightning_logs/tried/version_0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["lr"] == 0.05
    assert config["data"]["init_args"]["augment"] == []  # complete: what was not given is there, too
    assert cli(f"fit --config {run / 'config.yaml'}").code == 0
    assert rows_of(run) == rows_of(run.with_name("version_1"))


@pytest.mark.slow
def test_command_line_wins_over_config_and_both_over_the_checkpoint(cli):
    cli(f"fit --config shapes.yaml {QUICK} 1 --model.lr 0.05")
    Path("mine.yaml").write_text("model: {init_args: {lr: 0.01}}\ntrainer: {max_epochs: 2}\nname: mine\n")
    config = f"--config {RUN / 'config.yaml'} --config mine.yaml"
    cli(
        f"fit --model.momentum 0.5 {config} --ckpt_path {RUN / 'checkpoints' / 'best.ckpt'}"
    )  # options before configs, too
    mine = Path("lightning_logs/mine/version_0")
    group = torch.load(mine / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"][0]
    assert (group["lr"], group["momentum"]) == (0.01, 0.5)
    assert [row["lr"] for row in rows_of(mine)] == ["0.05", "0.01"]
    assert rows_of(RUN) == rows_of(mine)[:1]  # the run that it started from is left as it was


def test_the_environment_overrides_configs_and_the_command_line_overrides_it(cli, monkeypatch):
    monkeypatch.setenv("PL_FIT__TRAINER__MAX_EPOCHS", "7")
    monkeypatch.setenv("PL_MODEL__LR", "0.5")
    for line, epochs in (("", 7), ("--config cifar.yaml", 7), ("--trainer.max_epochs 3", 3)):
        result = cli(f"fit {line} --print_config")
        assert result.code == 0, result.err
        assert f"max_epochs: {epochs}\n" in result.out
        assert " lr: 0.5\n" in result.out
    monkeypatch.setenv("PL_TRAINER__MAX_EPOCH", "3")
    assert "there is no option --trainer.max_epoch (did you mean --trainer.max_epochs?)" in cli("fit").err
