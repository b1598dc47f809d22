"""The first losses of each shipped config, on images of shapes, are those in drift.yaml.

A change of a loss is a change of what users get: either it is meant, or it is a fault. After one that is meant,
`python tests/commands/test_drift.py` writes the file anew.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
import yaml
from helpers import rows_of

from lit_vision.utils.precision import has_fast_bfloat16

KNOWN = Path(__file__).with_name("drift.yaml")
_DATA = "--data ShapesDataModule --data.train_size 260 --data.val_size 60 --data.cache none"
_SMALL = f"{_DATA} --data.batch_size 40 --data.image_size 32"
_TRANSFER = f"{_DATA} --data.image_size 64 --model.arch resnet18 --model.weights null"
LINES = {
    "cifar": f"{_DATA} --data.image_size 32",
    "cifar94": f"{_SMALL} --data.crop_epochs 1 --model.widths [16,32,32] --model.lr 0.1",
    "cifar_fast": _SMALL,
    "folder": _DATA,
    "hymenoptera": _TRANSFER,
    "hymenoptera_best": _TRANSFER,
    "photos": f"{_TRANSFER} --data.input null --data.image_size 64 --model.unfreeze_at 1",
    "shapes": _DATA,
}
_ELSEWHERE = 2e-3  # relative difference of a loss on another processor or with other versions
_FACTS = ("model name", "cpu family", "model", "stepping", "cache size", "cpu cores")
_BFLOAT16 = 0.03  # where features are computed in bfloat16


def this_machine() -> dict[str, str]:
    """What the last digits of a loss depend on."""
    from lit_vision.utils.provenance import versions

    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    facts = [line.partition(":") for line in lines[: lines.index("")]] if "" in lines else []
    first = {name.strip(): value.strip() for name, _, value in facts}
    model = ", ".join(f"{name} {first.get(name, '')}" for name in _FACTS)
    known = {name: versions()[name] for name in ("torch", "torchvision", "lightning")}
    return {**known, "cpu": f"{model}, {torch.backends.cpu.get_cpu_capability()}"}


def losses(name: str, run) -> list[float]:
    """Losses of training and validation in two epochs."""
    line = f"fit --config {name}.yaml {LINES[name]} --trainer.max_epochs 2 --name {name} --trainer.accelerator cpu"
    assert run(f"{line} --trainer.precision 32-true --trainer.devices 1") == 0
    rows = rows_of(Path("lightning_logs") / name / "version_0")
    return [float(row[key]) for row in rows for key in ("train/loss", "val/loss")]


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_the_first_losses_are_those_that_are_known(cli, name):
    known = yaml.safe_load(KNOWN.read_text())
    found = losses(name, lambda line: cli(line).code)
    if known["machine"] == this_machine():
        assert found == known["losses"][name]
    else:
        rounded = "resnet18" in LINES[name] and has_fast_bfloat16(torch.device("cpu"))
        assert found == pytest.approx(known["losses"][name], rel=_BFLOAT16 if rounded else _ELSEWHERE)


def test_every_shipped_config_is_known():
    from lit_vision.parsing.arguments import shipped_configs

    assert {Path(name).stem for name in shipped_configs()} == LINES.keys()
    assert yaml.safe_load(KNOWN.read_text())["losses"].keys() == LINES.keys()


def test_a_drift_is_noticed(cli):
    """Another learning rate changes the losses by more than other machines may."""
    known = yaml.safe_load(KNOWN.read_text())["losses"]["shapes"]
    found = losses("shapes", lambda line: cli(f"{line} --model.lr 0.1").code)
    assert found != pytest.approx(known, rel=_ELSEWHERE)


if __name__ == "__main__":
    from lit_vision.cli import main

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = {name: losses(name, lambda line: main(line.split())) for name in LINES}
    KNOWN.write_text(yaml.safe_dump({"machine": this_machine(), "losses": found}, sort_keys=False))
    sys.exit(0)
