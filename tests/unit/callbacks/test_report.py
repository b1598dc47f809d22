import csv
import re

import torch
from lightning.pytorch import Trainer
from PIL import Image

from lit_vision.callbacks import TestReport, ValidationReport, report_files
from lit_vision.data import ImageFolderDataModule, ShapesDataModule
from lit_vision.models import SmallCNN
from lit_vision.plots import plot_grid

ALWAYS = {"confusion.png", "per_class.csv", "predictions.csv", "reliability.png", "report.md"}
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


def run_test(callback, data, **options):
    torch.manual_seed(0)
    trainer = Trainer(accelerator="cpu", callbacks=[callback], **QUIET, **options)
    (metrics,) = trainer.test(SmallCNN(class_names=data.class_names, image_size=data.image_size), data, verbose=False)
    return metrics


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_report_says_what_was_tested(tmp_path, capsys):
    checkpoint = tmp_path / "lightning_logs" / "shapes" / "version_3" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    (checkpoint.parent.parent / "config.yaml").write_text("")
    folder = checkpoint.parent / "report"
    data = ShapesDataModule(train_size=20, test_size=60, val_size=10)
    metrics = run_test(TestReport(folder, checkpoint, "lit-vision test --ckpt_path best"), data)
    assert {path.name for path in folder.iterdir()} == ALWAYS | {"mistakes.csv", "mistakes.png", "heatmaps.png"}
    text = (folder / "report.md").read_text()
    assert text.startswith("# Test of best.ckpt\n")
    assert f"Accuracy {metrics['test/acc']:.4f} (" in text
    assert f"95% interval of 60 images); loss {metrics['test/loss']:.4f}; mistakes: " in text
    assert "- run: `shapes/version_3`\n" in text
    assert "- model: `SmallCNN`\n- data: `ShapesDataModule`\n" in text
    assert re.search(r"- date: `\d{4}-\d\d-\d\d \d\d:\d\d \S+`\n", text)
    assert "- command: `lit-vision test --ckpt_path best`\n" in text
    assert "accuracy of each class" not in text  # it is called recall, in the picture and in the table
    assert "the checkpoint was not calibrated" in text
    assert capsys.readouterr().out.endswith(f"report      {folder / 'report.md'}\n")


def test_a_report_of_files_names_their_folder_and_the_files_of_mistakes(tmp_path, folders, monkeypatch):
    lines = []
    monkeypatch.setattr(
        report_files, "plot_grid", lambda tiles, **options: (lines.extend(tiles), plot_grid(tiles, **options))[1]
    )
    root = folders({"train": {"a": 3, "b": 3}, "test": {"a": 8, "b": 8}})  # whose images are the same
    data = ImageFolderDataModule(root=root, image_size=32, val_size=2)
    run_test(TestReport(tmp_path / "report", "weights.pt"), data)
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"- data: `ImageFolderDataModule, {root}`\n" in text
    assert "- run" not in text
    assert "- command" not in text
    assert Image.open(tmp_path / "report" / "mistakes.png").width >= 192
    assert {tile.lines[-1] for tile in lines} <= {f"{number}.png" for number in range(8)}
    images = {f"test/{name}/{number}.png" for name in "ab" for number in range(8)}
    every, mistakes = (table(tmp_path / "report" / name) for name in ("predictions.csv", "mistakes.csv"))
    assert {row["image"] for row in every} == images
    wrong = [row for row in every if row["label"] != row["predicted"]]
    assert sorted(mistakes, key=str) == sorted(wrong, key=str)
    assert [float(row["probability"]) for row in mistakes] == sorted(
        (float(row["probability"]) for row in wrong), reverse=True
    )


def test_the_report_of_an_earlier_test_is_replaced(tmp_path):
    class Perfect(SmallCNN):
        def test_step(self, batch, batch_idx):
            return super().test_step(batch, batch_idx) * 0 + torch.nn.functional.one_hot(batch.label, 10)

    for name in ("mistakes.png", "mistakes.csv", "heatmaps.png"):
        (tmp_path / name).write_text("old")
    data = ShapesDataModule(train_size=20, test_size=60, val_size=10)
    trainer = Trainer(accelerator="cpu", callbacks=[TestReport(tmp_path, "best.ckpt")], **QUIET)
    trainer.test(Perfect(class_names=data.class_names), data, verbose=False)
    assert {path.name for path in tmp_path.iterdir()} == ALWAYS
    assert "mistakes: 0." in (tmp_path / "report.md").read_text()
    with (tmp_path / "per_class.csv").open() as file:
        assert {row["recall"] for row in csv.DictReader(file)} == {"1.0"}


def test_a_part_of_the_split_is_counted_as_such(tmp_path):
    data = ShapesDataModule(train_size=20, test_size=3000, val_size=10)
    run_test(TestReport(tmp_path, "best.ckpt"), data, limit_test_batches=1)
    images = int(re.search(r"interval of ([\d,]+) images", (tmp_path / "report.md").read_text())[1].replace(",", ""))
    assert 0 < images < 3000
    assert len(table(tmp_path / "predictions.csv")) == images


def test_images_that_chose_the_epoch_are_called_so(tmp_path, folders):
    root = folders({"train": {"a": 12, "b": 12}, "val": {"a": 8, "b": 8}, "test": {"a": 8, "b": 8}})
    for number, path in enumerate(sorted(root.rglob("*.png"))):  # no two are the same
        noise = (torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(number)) * 255).byte().numpy()
        Image.fromarray(noise).save(path)
    reports = {}
    for val_size, splits in ((0, {"train": "train", "val": "val"}), (4, None)):
        data = ImageFolderDataModule(root=root, image_size=32, val_size=val_size, splits=splits)
        model = SmallCNN(class_names=data.class_names, image_size=32)
        Trainer(accelerator="cpu", max_epochs=1, **QUIET).fit(model, data)
        for kind, method in ((TestReport, "test"), (ValidationReport, "validate")):
            trainer = Trainer(accelerator="cpu", callbacks=[kind(tmp_path / method, "best.ckpt")], **QUIET)
            getattr(trainer, method)(model, data, verbose=False)
            text = (tmp_path / method / "report.md").read_text()
            reports[val_size, method] = re.search("- independent: `(yes|no)", text)[1]
    assert reports == {(0, "test"): "no", (0, "validate"): "no", (4, "test"): "yes", (4, "validate"): "no"}
