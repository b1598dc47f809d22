import csv
import os
import shutil
from pathlib import Path

import pytest
import torch
from helpers import REPOSITORY, metrics_in
from PIL import Image

from lit_vision.models import Classifier
from lit_vision.utils.text import printable

RUN = Path("lightning_logs/folder/version_0")


@pytest.fixture
def trained(fitted, folders):
    """A network that tells red from blue, and the folder of its images."""
    folders({split: {"red": 12, "blue": 12} for split in ("train", "val")}, size=20)
    root = Path("images")
    options = "--data.image_size 20 --model.lr 0.05 --trainer.max_epochs 8 --trainer.accelerator cpu"
    fitted(f"fit --config folder.yaml --data.root {root} {options} --data.batch_size 4")
    return root


def table(path="predictions.csv"):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_one_image_gets_a_line_for_each_guess(cli, trained):
    result = cli(f"predict --ckpt_path best --images {trained}/val/red/0.png --top 2")
    assert (result.code, result.err) == (0, "")
    first, second, source = result.out.splitlines()
    assert source == "checkpoint lightning_logs/folder/version_0/checkpoints/best.ckpt"
    assert first.startswith("red ")
    assert second.startswith("blue ")
    assert float(first.split()[1].rstrip("%")) + float(second.split()[1].rstrip("%")) == pytest.approx(100, abs=0.2)


def test_folders_become_a_table_and_a_grid(cli, trained):
    shutil.rmtree(trained / "train")  # only the checkpoint is needed
    line = "predict --ckpt_path best --output out/predictions.csv --grid out/predictions.png --images"
    result = cli(f"{line} {trained}/val/red/3.png {trained}/val")
    assert (result.code, result.err) == (0, "")
    rows = table("out/predictions.csv")
    assert list(rows[0]) == ["path", "label", "probability", "probability_blue", "probability_red", "error"]
    names = sorted(f"{number}.png" for number in range(12))
    expected = [f"red/{name}" for name in ["3.png"]] + [f"{c}/{name}" for c in ("blue", "red") for name in names]
    assert [row["path"] for row in rows] == [str(trained / "val" / name) for name in expected]
    for row in rows:
        assert (
            row["label"]
            == max(("blue", "red"), key=lambda name: float(row[f"probability_{name}"]))
            == Path(row["path"]).parts[-2]
        )
        assert float(row["probability"]) == float(row[f"probability_{row['label']}"])
    # 25 pictures of 20 pixels, nine times as large, with two lines of text
    assert Image.open("out/predictions.png").size == (5 * 204, 5 * (180 + 2 * 18 + 12))
    assert sorted(path.name for path in Path("out").iterdir()) == ["predictions.csv", "predictions.png"]


def test_any_kind_of_image_is_prepared_as_in_training(cli, trained):
    Path("kinds").mkdir()
    image = Image.new("RGB", (40, 30), (255, 0, 0))
    image.save("kinds/a.bmp")
    image.convert("P").save("kinds/b.gif")
    image.convert("RGBA").save("kinds/c.png")
    image.save("kinds/d.tiff")
    image.save("kinds/e.webp", lossless=True)
    assert cli("predict --ckpt_path last --images kinds --output predictions.csv").code == 0
    model = Classifier.load_from_checkpoint(RUN / "checkpoints" / "last.ckpt")
    pixels = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(1, 3, 20, 20)
    expected = model(pixels).softmax(1)[0, 1].item()
    assert [float(row["probability_red"]) for row in table()] == pytest.approx([expected] * 5, abs=1e-5)


def test_an_unreadable_image_gets_its_row_and_the_others_their_labels(cli, trained):
    (trained / "val" / "red" / "1.png").write_bytes(b"no image")
    result = cli(f"predict --ckpt_path best --images {trained}/val --output predictions.csv")
    assert result.code == 1
    assert result.err.startswith("warning: cannot read the image")
    assert result.err.count("\n") == 1
    rows = table()
    assert len(rows) == 24
    (bad,) = (row for row in rows if row["error"])
    assert (Path(bad["path"]).name, bad["label"], bad["probability_red"]) == ("1.png", "", "")
    assert "cannot read" in bad["error"]
    assert all(row["label"] in row["path"] for row in rows if row is not bad)


@pytest.mark.slow
def test_a_file_name_may_be_any_bytes(process, trained):
    name = b"\xff\xe3\x81\x82.png"
    shutil.copy(trained / "val" / "red" / "0.png", os.fsencode(trained / "val" / "red") + b"/" + name)
    line = f"-m lit_vision predict --ckpt_path best --images {trained}/val/red".split()
    printed = process(*line, PYTHONUTF8="0", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (printed.code, printed.out.count(".png  red "), printed.err) == (0, 13, "")
    assert process(*line, "--output", "predictions.csv").code == 0
    assert name in Path("predictions.csv").read_bytes()


def test_the_table_agrees_with_validate(cli, trained):
    for number in range(4):  # mistakes, so that there is something to agree on
        shutil.copy(trained / "val" / "red" / f"{number}.png", trained / "val" / "blue" / f"x{number}.png")
    accuracy = metrics_in(cli("validate --ckpt_path best").out)["val/acc"]
    cli(f"predict --ckpt_path best --images {trained}/val --output predictions.csv")
    right = [row["label"] == Path(row["path"]).parts[-2] for row in table()]
    assert sum(right) / len(right) == pytest.approx(accuracy, abs=1e-6)
    assert accuracy < 1


def test_test_time_augmentation_is_an_option_of_test_and_predict(cli, trained):
    Path("noise").mkdir()
    for number in range(3):
        Image.effect_noise((20, 20), 100).convert("RGB").save(f"noise/{number}.png")

    def probabilities(more):
        assert cli(f"predict --ckpt_path best --images noise --output predictions.csv {more}").code == 0
        return [float(row["probability_red"]) for row in table()]

    plain, views = probabilities(""), probabilities("--model.tta true")
    assert plain == probabilities("--model.tta false")
    assert plain != views
    assert probabilities("--model.tta 1.0") == pytest.approx(views, abs=1e-5)
    assert probabilities("--model.tta 1e-6") == plain
    for tta in ("true", "0.9"):
        assert cli(f"test --ckpt_path best --model.tta {tta}").code == 0


@pytest.mark.slow
def test_the_script_is_the_command(process, trained):
    script = str(REPOSITORY / "scripts" / "predict.py")
    result = process(script, "--ckpt_path", "best", "--images", f"{trained}/val/blue/0.png", "--top", "1")
    assert result.code == 0, result.err
    assert result.out.startswith("blue ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--images {root}/val", "predict needs --ckpt_path"),
        ("--ckpt_path best", "predict needs --images"),
        ("--ckpt_path best --images nothing.png", "there is no nothing.png"),
        ("--ckpt_path best --images empty", "empty has no images"),
        ("--ckpt_path nothing.ckpt --images {root}/val", "there is no checkpoint nothing.ckpt"),
        ("--ckpt_path best --images {root}/val --top 0", "top 0 is too small"),
        ("--ckpt_path best --images {root}/val --device meta", "there is no device meta"),
        ("--ckpt_path best --images {root}/val --grid x.jpg", "x.jpg does not end in .png"),
        ("--ckpt_path best --images {root}/val --output empty", "empty is a folder"),
        ("--ckpt_path best --images {root}/val --output {root}/val/red/0.png", "0.png is one of the images"),
        ("--ckpt_path best --images {root}/val --device cuda:99", "there is no device cuda:99"),
        ("--ckpt_path best --images {root}/val --outptu x.csv", "did you mean --output?"),
        ("--ckpt_path best --images {root}/val --output empty/file/x.csv", "empty/file is a file"),
    ],
)
def test_an_error_that_the_user_can_fix_is_one_line(cli, trained, options, message):
    Path("empty").mkdir()
    Path("empty/file").touch()
    before = sorted(Path().rglob("*"))
    result = cli(f"predict {options.format(root=trained)}")
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_without_a_checkpoint_of_any_run(cli):
    Image.new("RGB", (4, 4)).save("a.png")
    result = cli("predict --ckpt_path best --images a.png")
    assert (result.code, "train first" in result.err) == (2, True)


def test_no_class_can_have_the_name_of_another_column(cli, folders, fitted):
    folders({"train": {"error": 4, "path": 4, "label": 4}, "val": {"error": 4}}, size=16)
    fitted(
        "fit --config folder.yaml --data.root images --data.image_size 16 --trainer.max_epochs 1 --data.batch_size 4"
    )
    result = cli("predict --ckpt_path best --images images/val --output found.csv")
    assert result.code == 0, result.err
    header = Path("found.csv").read_text().splitlines()[0].split(",")
    assert len(set(header)) == len(header) == 7


@pytest.mark.parametrize(
    "names", [("猫", "犬"), (os.fsdecode(b"caf\xe9"), "a\nb"), ("$x_1$", "a|b`*<c>"), ("n" * 200, "é")]
)
def test_names_of_any_script_and_any_bytes(cli, folders, names):
    root = folders({"train": {"one": 4, "two": 4}, "test": {"one": 3, "two": 3}}, size=16)
    for split in ("train", "test"):
        for before, after in zip(("one", "two"), names, strict=True):
            os.rename(root / split / before, root / split / after)
            os.rename(root / split / after / "0.png", root / split / after / f"{after[:50]}.png")
    line = "fit --config folder.yaml --data.root images --data.image_size 16 --data.batch_size 4 --trainer.max_epochs 1"
    for step in (
        f"{line} --pictures.embedding true",
        "test --ckpt_path last",
        "predict --ckpt_path last --images images --output found.csv --grid found.png",
    ):
        result = cli(step)
        assert result.code == 0, result.err
        assert not result.err
    report = Path("lightning_logs/folder/version_0/checkpoints/report")
    assert (report / "per_class.csv").read_text(encoding="utf-8").count("\n") == 3
    assert (report / "report.md").read_text(encoding="utf-8")
    with open("found.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} <= {printable(name) for name in names}
    assert all(Path(row["path"]).is_file() for row in rows)


def test_no_class_is_a_formula_in_a_table(cli, folders):
    folders({"train": {"=cmd()": 4, "b": 4}, "val": {"=cmd()": 3}, "test": {"=cmd()": 3, "b": 3}}, size=16)
    line = "fit --config folder.yaml --data.root images --data.image_size 16 --trainer.max_epochs 1 --data.batch_size 4"
    assert cli(line).code == 0
    assert cli("predict --ckpt_path best --images images/test --output found.csv").code == 0
    assert cli("test --ckpt_path best").code == 0
    report = Path("lightning_logs/folder/version_0/checkpoints/report/per_class.csv")
    for path in (Path("found.csv"), report):
        cells = [cell for row in csv.reader(path.read_text().splitlines()) for cell in row]
        assert not [cell for cell in cells if cell.startswith("=")]
    assert "'=cmd()" in report.read_text()
