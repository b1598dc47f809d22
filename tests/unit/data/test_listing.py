import os

import pytest
from PIL import Image

from lit_vision.data.listing import list_folder, summarize


@pytest.fixture
def make(tmp_path):
    """Make image files: make("cat/0.png", ...); other files hold text."""

    def make_files(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".png", ".jfif"):
                Image.new("RGB", (2, 2)).save(path, "PNG")
            else:
                path.write_text("text")
        return tmp_path

    return make_files


def found(folder):
    return [os.path.relpath(image.path, folder.path) for image in folder.all_images()]


def left(folder):
    return {os.path.relpath(part.path, folder.path): part.reason for f in folder.walk() for part in f.left_out}


def test_images_are_sorted_without_what_is_hidden_or_no_image(make):
    root = make("b.PNG", "a b.jpg", "ü.gif", "sub/c.webp", ".hidden.png", ".cache/d.png", "notes.txt", "x.jfif")
    folder = list_folder(root)
    assert found(folder) == ["a b.jpg", "b.PNG", "sub/c.webp", "x.jfif", "ü.gif"]
    assert left(folder) == {"notes.txt": ".txt files, which Pillow does not read"}


@pytest.mark.parametrize("junk", ["__MACOSX", "lost+found", "@eaDir", "$RECYCLE.BIN", "System Volume Information"])
def test_helpers_of_systems_are_passed_over(make, junk):
    folder = list_folder(make("a.png", f"{junk}/b.png", "Thumbs.db", ".DS_Store", "desktop.ini"))
    assert found(folder) == ["a.png"]
    assert left(folder) == {}


def test_links_are_followed_and_loops_are_not(make, tmp_path):
    root = make("root/cat/0.png", "elsewhere/1.png", "elsewhere/deep/2.png", "3.png") / "root"
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "linked.png").symlink_to(tmp_path / "3.png")
    (root / "cat" / "loop").symlink_to(root)
    folder = list_folder(root)
    assert found(folder) == ["cat/0.png", "cat/linked.png", "cat/more/1.png", "cat/more/deep/2.png"]
    assert left(folder) == {"cat/loop": "links to a folder above them"}


def test_a_file_counts_once_and_its_own_path_wins_over_links(make):
    root = make("cat/b/0.png", "cat/z.png")
    (root / "cat" / "a").symlink_to(root / "cat" / "b")  # comes first in alphabetical order
    (root / "cat" / "a.png").symlink_to(root / "cat" / "z.png")
    assert found(list_folder(root)) == ["cat/b/0.png", "cat/z.png"]


@pytest.mark.parametrize("kind", ["dangling", "circular", "pipe"])
def test_what_cannot_be_read_is_accounted_for(make, kind):
    root = make("a.png")
    if kind == "pipe":
        os.mkfifo(root / "x.png")
    else:
        (root / "x.png").symlink_to("nothing" if kind == "dangling" else "x.png")
    folder = list_folder(root)
    assert found(folder) == ["a.png"]
    assert list(left(folder)) == ["x.png"]
    assert "x.png" in summarize(folder.left_out, root)


def test_a_summary_counts_reasons_and_names_three(make):
    root = make("a.png", *(f"{number}.txt" for number in range(5)), "b.csv")
    text = summarize(list_folder(root).left_out, root)
    assert text == (
        ".txt files, which Pillow does not read: 5 (0.txt, 1.txt, 2.txt, ...); "
        ".csv files, which Pillow does not read: 1 (b.csv)"
    )
