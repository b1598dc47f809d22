import pytest
import torch

from lit_vision.data import ImageTableDataModule
from lit_vision.errors import UserError


@pytest.fixture
def table(folders, tmp_path):
    """Write a CSV beside four red and four blue images; lines are given without the header."""
    root = folders({"pics": {"red": 4, "blue": 4}})

    def write(lines, header="path,label,split"):
        (root / "images.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8-sig")
        return root

    return write


def line(colour, number, *more):
    return ",".join([f"pics/{colour}/{number}.png", colour, *more])


def test_splits_labels_and_order_are_the_tables(table):
    root = table(
        [
            *(line(c, n, "train") for n in (0, 1) for c in ("red", "blue")),
            line("red", 2, "val"),
            line("blue", 2, "test"),
        ]
    )
    module = ImageTableDataModule(root)
    assert module.class_names == ["blue", "red"]
    assert module.split_names == ["train", "val", "test"]
    module.setup("fit")
    module.setup("test")
    for split, count in (("train", 4), ("val", 1), ("test", 1)):
        (batch,) = getattr(module, f"{split}_dataloader")()
        assert len(batch.label) == count
        assert torch.equal(batch.image[:, 0, 0, 0] > 0, batch.label == 1)  # red


def test_without_a_split_column_val_size_holds_some_out(table):
    module = ImageTableDataModule(
        table([line(c, n) for n in range(4) for c in ("red", "blue")], "path,label"), val_size=2
    )
    module.setup("fit")
    assert [len(next(iter(loader)).label) for loader in (module.train_dataloader(), module.val_dataloader())] == [6, 2]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([], "file,label", r"images\.csv has no column 'path'"),
        ([], "path,class", r"no column 'label'"),
        ([line("red", 0, "train"), line("blue", 0, "dev")], "path,label,split", r"line 3 has the unknown split 'dev'"),
        (
            [line("red", 0, "train"), line("red", 9, "train")],
            "path,label,split",
            r"line 3 names .*9\.png, which does not exist",
        ),
        ([line("red", 0, "train"), "pics/red/1.png,,train"], "path,label,split", r"line 3 has no path or no label"),
        ([line("red", 0, "train"), line("red", 1, "val")], "path,label,split", r"one class, 'red'"),
        ([], "path,label,split", r"no images"),
        (
            [line("red", 0, "train"), line("blue", 0, "train"), "pics/red/1.png,green,val"],
            "path,label,split",
            r"line 4 has a label that train lacks, 'green'",
        ),
    ],
)
def test_bad_tables_name_the_line(table, lines, header, message):
    with pytest.raises(UserError, match=message):
        ImageTableDataModule(table(lines, header)).setup("fit")


def test_no_table(tmp_path):
    with pytest.raises(UserError, match=r"there is no table .*--data\.table"):
        ImageTableDataModule(tmp_path).class_names  # noqa: B018
