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
