import os
from pathlib import Path

import pytest
import torch
from helpers import QUICK, RUN, metrics_in, rows_of, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.mark.slow
def test_validate_and_test_print_the_figures_of_fit(cli, fitted, process):
    fitted(f"fit --config shapes.yaml {QUICK} 3")
    best = max(rows_of(RUN), key=lambda row: float(row["val/acc"]))
    fresh = process("-m", "lit_vision", "validate", "--ckpt_path", "best")
    assert (fresh.code, fresh.err) == (0, "")
    printed = metrics_in(fresh.out)
    assert printed == {"val/acc": float(best["val/acc"]), "val/loss": float(best["val/loss"])}
    last = metrics_in(cli("validate --ckpt_path last").out)
    assert last == {"val/acc": float(rows_of(RUN)[-1]["val/acc"]), "val/loss": float(rows_of(RUN)[-1]["val/loss"])}
    tested = metrics_in(cli("test --ckpt_path best").out)
    assert set(tested) == {"test/acc", "test/loss"}
    events = EventAccumulator(str(RUN)).Reload()
    assert [event.value for event in events.Scalars("test/acc")] == pytest.approx([tested["test/acc"]])
    assert os.listdir("lightning_logs/shapes") == ["version_0"]  # no empty runs beside it


@pytest.mark.slow
def test_best_and_last_are_the_newest_runs(cli):
    for name, batch_size in (("a", 8), ("b", 16)):
        cli(f"fit --config shapes.yaml {QUICK} 1 --name {name} --data.batch_size {batch_size}")
    figures = {name: float(rows_of(Path(f"lightning_logs/{name}/version_0"))[0]["val/loss"]) for name in ("a", "b")}
    assert figures["a"] != figures["b"]
    assert metrics_in(cli("validate --ckpt_path best").out)["val/loss"] == figures["b"]
    assert metrics_in(cli(f"validate --config shapes.yaml {QUICK} 1 --ckpt_path last").out)["val/loss"] == figures["b"]
    assert metrics_in(cli("validate --ckpt_path best --name a").out)["val/loss"] == figures["a"]
    named = cli(f"validate --config shapes.yaml {QUICK} 1 --ckpt_path best --name a")
    assert metrics_in(named.out)["val/loss"] == figures["a"]
    os.rename("lightning_logs/a", "lightning_logs/moved")
    os.utime("lightning_logs/b/version_0/checkpoints/last.ckpt", (0, 0))
    assert metrics_in(cli("validate --ckpt_path last").out)["val/loss"] == figures["a"]


@pytest.mark.slow
def test_validates_a_file_that_the_notebook_saved(cli, fitted):
    fitted(f"fit --config shapes.yaml {QUICK} 1")
    torch.save(weights(RUN / "checkpoints" / "best.ckpt"), "CNN.pth")
    given = cli(f"validate --config shapes.yaml {QUICK} 1 --model.weights CNN.pth")
    assert metrics_in(given.out) == metrics_in(cli("validate --ckpt_path best").out)
