import importlib
import json
import math
import os
import sys
from statistics import median

import pytest
import torch
from helpers import REPOSITORY


@pytest.fixture
def benchmark(monkeypatch):
    """The script, with measurements in this process instead of new ones."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    script = importlib.import_module("benchmark")

    def here(module, function, *arguments):
        folder = os.getcwd()
        try:
            return getattr(importlib.import_module(module), function)(*arguments)
        finally:
            os.chdir(folder)

    monkeypatch.setattr(script, "alone", here)
    monkeypatch.setattr(
        script, "QUICK", script.Options(1, steps=6, cifar=10, pictures=2, photos=4, large=2, target=False)
    )
    return script


@pytest.mark.slow
def test_benchmark_measures_both_sides_on_the_same_images(benchmark, monkeypatch, capsys):
    from lit_vision.models import SmallCNN

    monkeypatch.setattr(SmallCNN, "on_train_batch_start", SmallCNN.on_train_batch_start)  # which `start` replaces
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--quick"])
    benchmark.main()
    text = capsys.readouterr().out
    with open("benchmark.json") as file:
        found = json.load(file)
    assert found["machine"]["cores"] == os.cpu_count()
    assert {"torch", "lightning", "lit-vision", "cpu"} <= found["machine"].keys()
    for row in found["rows"]:
        assert row["case"] in text
        assert len(row["ours"]) == 1
        assert len(row["plain"]) == (0 if row["case"].startswith("the loader") or "memory" in row["case"] else 1)
        assert all(figure > 0 and math.isfinite(figure) for figure in row["plain"] + row["ours"])
    assert [len(row["bare"]) for row in found["rows"]] == [1] + [0] * (len(found["rows"]) - 1)


@pytest.mark.slow
def test_cifar94_is_measured_beside_its_reference(benchmark, monkeypatch, capsys):
    module = importlib.import_module("bench.cifar94")
    measure = module.measure

    def small(arguments, *more):
        return measure([*arguments, "--model.widths", "[4,8,8]"], *more, batch=8)

    monkeypatch.setattr(module, "measure", small)
    monkeypatch.setattr(benchmark, "QUICK", benchmark.QUICK._replace(cifar=600))
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--quick", "--cifar94"])
    benchmark.main()
    text = capsys.readouterr().out
    with open("benchmark.json") as file:
        rows = json.load(file)["rows"]
    assert rows[-1]["precision"] == "32-true"
    for row in rows:
        share = row["ours"] / (row["reference"] / 1000 * 9.9 * 50_000 / 1024)
        assert f"{row['precision']}: cifar94.yaml {row['ours']:.1f} s" in text
        assert f"{share:.2f} of it" in text


def test_the_reference_is_the_network_of_cifar94(benchmark):
    from lit_vision.models import WhitenedCNN

    def sizes(network):
        return [parameter.shape for parameter in network.parameters() if parameter.requires_grad]

    reference = importlib.import_module("bench.cifar94").reference_network()
    assert sizes(reference) == sizes(WhitenedCNN())
    assert reference(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_figures_are_medians_and_speedup_is_the_right_way_round(benchmark):
    slower = benchmark.Row("a step", "ms", [6.0, 9.0, 100.0], [3.0, 2.0, 4.0], [2.0])
    assert slower.speedup == 3.0
    assert benchmark.Row("a loader", "images/s", [10.0], [40.0], []).speedup == 4.0
    text = benchmark.table([slower])
    assert all(cell in text for cell in (f"{median([6.0, 9.0, 100.0]):.2f} ms", "3.0x", "1.50 of it"))
