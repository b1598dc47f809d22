"""Calibration, --accept, --unsure, heatmaps, reports and comparisons, from the command line."""

import csv
import re
from pathlib import Path

import pytest
import torch
from helpers import QUICK, RUN, TINY
from PIL import Image

from lit_vision.models import Classifier
from lit_vision.models.calibration import fit_temperature

pytestmark = pytest.mark.slow

CHECKPOINTS = RUN / "checkpoints"
FIT = (
    "fit --config shapes.yaml --data.train_size 2500 --data.val_size 100 --data.test_size 200 --data.batch_size 16 "
    "--model.lr 0.03 --model.schedule one_cycle --trainer.max_epochs 5 --trainer.accelerator cpu"
)


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def pictures(folder, count=12, kind="noise"):
    Path(folder).mkdir()
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        noise = (torch.rand(48, 48, 3, generator=generator) * 255).byte().numpy()
        Image.fromarray(noise).save(f"{folder}/{number}.png")


def test_a_checkpoint_is_calibrated_on_the_validation_images(cli, fitted):
    fitted(FIT)
    for name in ("best", "last"):
        checkpoint = torch.load(CHECKPOINTS / f"{name}.ckpt", weights_only=True)
        state = checkpoint["calibration"]
        assert len(state["correct"]) == 100
        model = Classifier.load_from_checkpoint(CHECKPOINTS / f"{name}.ckpt")
        assert cli(f"validate --ckpt_path {name}").code == 0
        rows = table(CHECKPOINTS / "report_val" / "predictions.csv")
        assert sum(row["label"] == row["predicted"] for row in rows) == int(state["correct"].sum())
        certainty = sorted((float(row["probability"]) for row in rows), reverse=True)
        assert certainty == pytest.approx(state["confidence"].tolist(), abs=1e-5)
        assert model.calibration.temperature == state["temperature"] != 1


def test_predictions_and_exports_are_calibrated(cli, fitted):
    fitted(FIT)
    pictures("new")
    path = CHECKPOINTS / "best.ckpt"
    assert cli("predict --ckpt_path best --images new --output new.csv").code == 0
    model = Classifier.load_from_checkpoint(path)
    pixels = torch.stack([torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(3)])
    assert cli("export --ckpt_path best --format torch_export --output network.pt2").code == 0
    exported = torch.export.load("network.pt2").module()(pixels)
    logits = model((pixels - 0.5) / 0.5)
    torch.testing.assert_close(exported, (logits / model.calibration.temperature).softmax(1))
    without = torch.load(path, weights_only=True)
    del without["calibration"]
    torch.save(without, "without.ckpt")
    assert cli("predict --ckpt_path without.ckpt --images new --output plain.csv").code == 0
    one, other = (
        torch.tensor([[float(v) for k, v in row.items() if k.startswith("probability_")] for row in table(name)])
        for name in ("new.csv", "plain.csv")
    )
    scaled = (other.log() / model.calibration.temperature).softmax(1)
    torch.testing.assert_close(one, scaled, atol=1e-4, rtol=1e-3)


def test_test_reports_how_far_probabilities_can_be_trusted(cli, fitted):
    fitted(FIT)
    result = cli("test --ckpt_path best --accept 0.4")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"accuracy    0\.\d{4} \(0\.\d\d to 0\.\d\d, 95% interval of 200 images\)", result.out)
    assert re.search(r"calibration expected calibration error 0\.\d{4}, 0\.\d{4} without the temperature", result.out)
    answered, threshold = re.search(r"answers ([\d.]+)% of 200 images, .* at least (0\.\d+);", result.out).groups()
    rows = table(CHECKPOINTS / "report" / "predictions.csv")
    certain = [row for row in rows if float(row["probability"]) >= float(threshold) - 1e-4]
    assert len(certain) == pytest.approx(2 * float(answered), abs=1)
    text = (CHECKPOINTS / "report" / "report.md").read_text()
    assert "- independent: `yes" in text
    assert "With a threshold, the network answers" in text
    assert {"reliability.png", "heatmaps.png", "mistakes.csv"} <= {p.name for p in (CHECKPOINTS / "report").iterdir()}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "test --ckpt_path best --accept 0.9999",
            "no threshold makes sure that the network is right in 0.9999 of its answers",
        ),
        ("test --ckpt_path best --accept 99", "accept 99.0 is out of range"),
        ("predict --ckpt_path best --images new --unsure true --accept 0.9999", "no threshold makes sure"),
        ("predict --ckpt_path best --images new --unsure true --accept 2", "accept 2.0 is out of range"),
        ("predict --ckpt_path best --images new --unsure perhaps", "--unsure"),
        ("predict --ckpt_path best --images new --accept 0.4", "add --unsure true, or leave --accept out"),
    ],
)
def test_what_cannot_be_accepted_is_one_line(cli, fitted, line, message):
    fitted(FIT)
    pictures("new")
    result = cli(line)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not (CHECKPOINTS / "report").exists()


def test_without_validation_images_nothing_is_calibrated(cli):
    assert cli(f"{TINY} --trainer.max_epochs 1 --trainer.limit_val_batches 0").code == 0
    assert "calibration" not in torch.load(CHECKPOINTS / "last.ckpt", weights_only=True)
    pictures("new")
    assert cli("predict --ckpt_path last --images new").code == 0
    for line in ("test --ckpt_path last --accept 0.4", "predict --ckpt_path last --images new --unsure true"):
        result = cli(line)
        assert result.code == 2
        assert "last.ckpt has no calibration, since its run had no validation images" in result.err


def test_a_step_after_the_validation_leaves_no_old_calibration(cli):
    line = f"{TINY} --trainer.max_epochs 2 --checkpoint.every_n_steps 3 --trainer.max_steps 13"
    assert cli(line).code == 0
    checkpoint = torch.load(CHECKPOINTS / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 13
    assert "calibration" not in checkpoint
    assert "calibration" in torch.load(CHECKPOINTS / "best.ckpt", weights_only=True)


def test_unsure_says_why(cli, fitted):
    fitted(FIT)
    pictures("new", count=30)
    assert (
        cli("predict --ckpt_path best --images new --unsure true --accept 0.4 --output new.csv --grid new.png").code
        == 0
    )
    rows = table("new.csv")
    assert list(rows[0])[-2:] == ["error", "unsure"]
    reasons = {"", "not certain enough", "unlike anything seen", "not certain enough; unlike anything seen"}
    assert {row["unsure"] for row in rows} <= reasons
    model = Classifier.load_from_checkpoint(CHECKPOINTS / "best.ckpt")
    threshold = model.calibration.threshold(0.4)
    assert [("not certain" in row["unsure"]) for row in rows] == [float(row["probability"]) < threshold for row in rows]
    unsure = next(row for row in rows if row["unsure"])
    printed = cli(f"predict --ckpt_path best --images {unsure['path']} --unsure true --accept 0.4")
    assert f"unsure: {unsure['unsure']}" in printed.out
    (Path("new") / "0.png").write_text("broken")
    assert cli("predict --ckpt_path best --images new --unsure true --accept 0.4 --output new.csv").code == 1
    broken = table("new.csv")[0]
    assert (broken["unsure"], bool(broken["error"])) == ("", True)
    assert list(table("new.csv")[0]) == list(rows[0])


def test_heatmaps_are_written_under_the_names_of_the_images(cli, fitted):
    fitted(FIT)
    pictures("new", count=3)
    Path("new/more").mkdir()
    Image.new("RGB", (20, 10), "red").save("new/more/a.png")
    Image.new("RGB", (20, 10), "red").save("new/more/a.jpg")
    result = cli("predict --ckpt_path best --images new --heatmap heatmaps")
    assert (result.code, result.err) == (0, "")
    found = {path.relative_to("heatmaps").as_posix() for path in Path("heatmaps").rglob("*.png")}
    assert found == {"0.png.png", "1.png.png", "2.png.png", "more/a.png.png", "more/a.jpg.png"}
    assert Image.open("heatmaps/0.png.png").size == (32, 32)
    assert cli("predict --ckpt_path best --images new/0.png --heatmap new/1.png").code == 2
    for place in ("new", "new/inside"):
        refused = cli(f"predict --ckpt_path best --images new --heatmap {place}")
        assert refused.code == 2
        assert "set --heatmap to another folder" in refused.err
    assert sorted(path.name for path in Path("new").iterdir()) == ["0.png", "1.png", "2.png", "more"]


def test_runs_are_listed_and_compared(cli):
    for lr in ("0.01", "0.0001"):
        assert cli(f"fit --config shapes.yaml {QUICK} 2 --model.lr {lr}").code == 0
    result = cli("compare shapes/version_0 shapes/version_1")
    assert result.code == 2
    assert "shapes/version_0 has no report" in result.err
    for number in (0, 1):
        assert cli(f"test --ckpt_path lightning_logs/shapes/version_{number}/checkpoints/best.ckpt").code == 0
    listed = cli("runs").out.splitlines()
    assert [line.split()[0] for line in listed] == ["run", "shapes/version_0", "shapes/version_1"]
    assert re.search(
        r"SmallCNN +ShapesDataModule +2 of 2 +\d: val/acc 0\.\d{4} +0\.\d{4} \(0\.\d+ to 0\.\d+\)", listed[1]
    )
    compared = cli("compare shapes/version_0 lightning_logs/shapes/version_1/checkpoints/last.ckpt")
    assert (compared.code, compared.err) == (0, "")
    assert "images      100 of test" in compared.out
    only = re.search(r"only right  (\d+) in the first, (\d+) in the second", compared.out)
    reports = [table(f"lightning_logs/shapes/version_{n}/checkpoints/report/predictions.csv") for n in (0, 1)]
    right = [{row["image"] for row in report if row["label"] == row["predicted"]} for report in reports]
    assert [int(number) for number in only.groups()] == [len(right[0] - right[1]), len(right[1] - right[0])]
    same = cli("compare shapes/version_0 shapes/version_0")
    assert "difference  +0.0000: this may be chance (McNemar's test, p 1)" in same.out


def test_runs_of_other_images_are_not_compared(cli):
    for seed in (0, 1):
        assert cli(f"fit --config shapes.yaml {QUICK} 1 --data.val_seed {seed}").code == 0
        assert cli(f"validate --ckpt_path lightning_logs/shapes/version_{seed}/checkpoints/best.ckpt").code == 0
    result = cli("compare shapes/version_0 shapes/version_1")
    assert result.code == 0
    names = [
        {row["image"] for row in table(f"lightning_logs/shapes/version_{n}/checkpoints/report_val/predictions.csv")}
        for n in (0, 1)
    ]
    common = len(names[0] & names[1])
    assert f"images      {common} of val; {200 - 2 * common} that only one run has are left out" in result.out


@pytest.mark.parametrize("line", ["compare shapes/version_7 x", "runs", "runs --name other", "compare a"])
def test_runs_that_do_not_exist(cli, line):
    result = cli(line)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1


def test_the_temperature_is_that_of_the_best_epoch(cli, fitted):
    fitted(FIT)
    model = Classifier.load_from_checkpoint(CHECKPOINTS / "best.ckpt")
    from lit_vision.data import ShapesDataModule

    data = ShapesDataModule(train_size=2500, val_size=100)
    data.setup("validate")
    batches = [data.preprocess(batch) for batch in data.val_dataloader()]
    with torch.no_grad():
        logits = torch.cat([model(batch.image) for batch in batches])
    expected = fit_temperature(logits, torch.cat([batch.label for batch in batches]))
    assert model.calibration.temperature == pytest.approx(expected, rel=1e-4)
