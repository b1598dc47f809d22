import os
import shutil

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
    return [
        (split, os.path.basename(entry.path), entry.class_name)
        for split, found in listing.splits.items()
        for entry in found
    ]


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
    with pytest.raises(UserError, match=r"line 2 .*'dev'.*\(dev, train\).*--data\.splits '\{train: train, val: dev\}'"):
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


@pytest.fixture
def write(folders):
    """Write a table as it stands, beside four red and four blue images."""
    root = folders({"pics": {"red": 4, "blue": 4}})

    def write(content):
        (root / "images.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write


def classes(root, **options):
    return ImageTableDataModule(root, **options).class_names


def refusal(root, **options):
    with pytest.raises(UserError) as caught:
        ImageTableDataModule(root, **options).class_names  # noqa: B018
    return str(caught.value)


ROWS = "pics/red/0.png,red\npics/blue/0.png,blue\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"\n\npath,label\n{ROWS}", id="blank lines before the header"),
        pytest.param(f",\n , \npath,label\n{ROWS}", id="lines of separators before the header"),
        pytest.param('"path", "label"\n"pics/red/0.png", "red"\n"pics/blue/0.png", "blue"\n', id="space before quotes"),
        pytest.param(
            'path,label,"note\n(or none)"\npics/red/0.png,red,\npics/blue/0.png,blue,x\n', id="line break in the header"
        ),
        pytest.param("SEP=;\npath;label\npics/red/0.png;red\npics/blue/0.png;blue\n", id="SEP in capitals"),
        pytest.param('"sep=;"\npath;label\npics/red/0.png;red\npics/blue/0.png;blue\n', id="sep in quotes"),
    ],
)
def test_tables_that_are_read(write, content):
    assert classes(write(content)) == ["blue", "red"]


@pytest.mark.parametrize("end", ["", '"'], ids=["open to the end", "closed rows later"])
def test_a_quote_that_is_not_closed_swallows_no_rows(write, end):
    content = f'path,label\n{ROWS}pics/red/1.png,"red\npics/blue/1.png,{end}blue{end}\npics/blue/2.png,blue\n'
    assert "line 4" in refusal(write(content))


def test_a_row_is_named_by_the_line_that_it_begins_in(write):
    assert "line 2 " in refusal(write(f'path,label\npics/none.png,"a\nb"\n{ROWS}'))


def test_an_empty_column_hides_no_cell_that_is_too_many(write):
    assert "line 3 " in refusal(write("path,label,\npics/red/0.png,red,\npics/blue/0.png,blue, dark\n"))


def test_two_columns_for_the_split(write):
    assert "two columns 'split'" in refusal(write("path,label,split,Split\npics/red/0.png,red,train,test\n"))


def test_labels_that_look_the_same_are_one_class(write):
    content = f"path,label\n{ROWS}pics/red/1.png,caf\u00e9\npics/red/2.png,cafe\u0301\n"
    assert len(classes(write(content))) == 3


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(write, encoding):
    assert "UTF-8" in refusal(write(f"path,label\n{ROWS}".encode(encoding)))


@pytest.mark.parametrize(("word", "meant"), [("dev", "train: train"), ("holdout", "train: train")])
def test_the_example_for_unknown_words_keeps_the_known_ones(write, word, meant):
    rows = "pics/red/0.png,red,train\npics/blue/0.png,blue,train\n"
    assert meant in refusal(write(f"path,label,split\n{rows}pics/red/1.png,red,{word}\n"))


@pytest.mark.parametrize(
    ("splits", "culprit"),
    [
        pytest.param({"val": "a", "train": "A"}, "splits", id="one word for two splits"),
        pytest.param({"train": "a", "val": "c"}, "'c'", id="a word that no row has"),
    ],
)
def test_splits_that_cannot_be_meant(write, splits, culprit):
    rows = "pics/red/0.png,red,a\npics/blue/0.png,blue,a\npics/red/1.png,red,b\n"
    assert culprit in refusal(write(f"path,label,split\n{rows}"), splits=splits)


def test_one_of_the_named_splits_is_enough_to_evaluate(write):
    root = write("path,label,split\npics/red/0.png,red,te\n")
    data = ImageTableDataModule(root, splits={"train": "tr", "test": "te"}, classes=["blue", "red"])
    assert data.split_names == ["test"]


def test_splits_without_a_column_for_them(write):
    assert "no column 'split'" in refusal(write(f"path,label\n{ROWS}"), splits={"train": "a", "val": "b"})


def test_a_table_that_was_moved_is_still_what_was_trained_on(write, tmp_path):
    root = write("path,label\n" + "".join(f"pics/{c}/{n}.png,{c}\n" for c in ("red", "blue") for n in range(4)))
    trained = ImageTableDataModule(root, val_size=2)
    trained.setup("fit")
    shutil.move(root, tmp_path / "moved")
    moved = ImageTableDataModule(tmp_path / "moved", classes=["blue", "red"])
    moved.load_state_dict(trained.state_dict())
    assert moved.evaluation_split("test") is None
