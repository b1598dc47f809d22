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


def entries(root, **options):
    """What a table lists: (split, file name, label) of each image."""
    listing = ImageTableDataModule(root, **options).listing
    return [(split, entry.path.name, entry.class_name) for split, found in listing.splits.items() for entry in found]


RED, BLUE = ("train", "0.png", "red"), ("train", "0.png", "blue")


@pytest.mark.parametrize(
    "content",
    [
        "path,label\npics/red/0.png,red\npics/blue/0.png,blue\n",
        "path, label\npics/red/0.png, red\npics/blue/0.png ,blue\t\n",
        "Path,LABEL\npics/red/0.png,red\npics/blue/0.png,blue\n",
        "path;label\npics/red/0.png;red\npics/blue/0.png;blue\n",
        "label\tpath\nred\tpics/red/0.png\nblue\tpics/blue/0.png\n",
        "path|label|size\npics/red/0.png|red|1,5\npics/blue/0.png|blue|2,5\n",
        "sep=;\npath;label\npics/red/0.png;red\npics/blue/0.png;blue\n",
        'path,label\r\n"pics/red/0.png","red"\r\n\r\n,\r\npics/blue/0.png,blue,,\r\n',
        "path,label,split\npics/red/0.png,red,\npics/blue/0.png,blue,TRAINING\n",
        "path,label\npics\\red\\0.png,red\npics\\blue\\0.png,blue\n",
        "path,label\n./pics/red/0.png,red\npics/../pics/blue/0.png,blue\n",
        "path,label\npics/red/0.png,red\npics/blue/0.png,blue\npics/red/0.png,red\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_people_and_spreadsheets_write_them(table, content, encoding):
    root = table([])
    (root / "images.csv").write_bytes(content.encode(encoding))
    assert entries(root) == [RED, BLUE]


@pytest.mark.parametrize(
    ("word", "split"),
    [("valid", "val"), ("Validation", "val"), ("TEST", "test"), ("testing", "test"), ("Train", "train"), ("", "train")],
)
def test_words_for_splits(table, word, split):
    root = table([line("red", 0, "train"), line("blue", 0, "train"), line("red", 1, word)])
    assert (split, "1.png", "red") in entries(root)


def test_splits_can_be_named(table):
    root = table([line("red", 0, "tr"), line("blue", 0, "TR"), line("red", 1, "te"), line("blue", 1, "x")])
    found = entries(root, splits={"train": "tr", "test": "te"})
    assert found == [RED, BLUE, ("test", "1.png", "red")]
    module = ImageTableDataModule(root, splits={"train": "tr", "test": "te"})
    assert module.left_out() == "lines of the split 'x': 1 (pics/blue/1.png)"
    assert [split for split, *_ in entries(root, splits={"test": "."})] == ["test"] * 4


def test_an_unknown_word_is_told_with_all_words(table):
    root = table([line("red", 0, "dev"), line("blue", 0, "train")])
    with pytest.raises(UserError, match=r"line 2 .*'dev'.*\(dev, train\).*--data\.splits '\{train: dev\}'"):
        entries(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file;class\n1;2\n", r"no column 'path' \(its columns: file, class\)"),
        ("path,label,Label\n", "two columns 'label'"),
        ("", "no column 'path'"),
        (
            "path,label\n" + "pics/no.png,red\n" * 5,
            r"line 2 .*, line 3 .*, line 4 .* and 2 more like that.*does not exist",
        ),
        ("path,label\npics/red/0,1.png,red\n", r"line 2 has 3 cells for 2 columns"),
        ("path,label\nx.png,\n,red\n", r"line 2 has no path or no label, line 3 has"),
        ("path,label\npics,red\n", r"line 2 names pics"),
        ("path,label\npics/\0,red\n", "images.csv"),
        ("path,label\n" + "x" * 200_000 + ",red\n", "images.csv"),
    ],
)
def test_faults_are_told_at_once_and_by_line(table, content, message):
    root = table([])
    (root / "images.csv").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        entries(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line("red", 0, "train"), "pics/red/0.png,blue,train"], "two classes, red and blue: .*line 2 or .*line 3"),
        ([line("red", 0, "train"), line("red", 0, "val")], "two splits, train and val: .*line 2 or .*line 3"),
        ([line("red", 0, "train"), "./pics/red/../red/0.png,red,test"], "two splits, train and test"),
        ([line("red", 0, "train"), "pics/link.png,red,test"], "two splits, train and test"),
    ],
)
def test_an_image_has_one_class_and_one_split(table, lines, message):
    root = table([*lines, line("blue", 0, "train")])
    (root / "pics" / "link.png").symlink_to("red/0.png")
    with pytest.raises(UserError, match=message):
        entries(root)


def test_a_table_of_test_images_alone_is_evaluated(table):
    root = table([line("red", 0, "test"), line("red", 1, "test")])
    module = ImageTableDataModule(root, classes=["blue", "red"])
    module.setup("test")
    assert next(iter(module.test_dataloader())).label.tolist() == [1, 1]


def test_labels_are_text_of_any_script(table):
    root = table(["pics/red/0.png,猫", "pics/red/1.png,1.0", 'pics/red/2.png,"a\nb"'], "path,label")
    assert ImageTableDataModule(root).class_names == ["1.0", "a\\nb", "猫"]


def test_held_out_images_do_not_depend_on_where_the_table_is(table, tmp_path):
    root = table([line(c, n) for n in range(4) for c in ("red", "blue")], "path,label")
    root.rename(tmp_path / "moved")
    lines = (tmp_path / "moved" / "images.csv").read_text()
    here = ImageTableDataModule(tmp_path / "moved").load("train").ids
    (tmp_path / "moved" / "images.csv").write_text(lines.replace("pics/red", "./pics//red"))
    assert torch.equal(here, ImageTableDataModule(tmp_path / "moved").load("train").ids)
