import warnings

import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from lit_vision.plots import Tile, plot_confusion, plot_curves, plot_grid, to_image
from lit_vision.utils import fonts
from lit_vision.utils.fonts import find_font, shown_names, shown_text

CAT, DOG = "猫", "犬"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A list of fonts without the system's, and nothing remembered."""
    caches = (fonts._font_files, fonts._characters, fonts._tell_missing)
    own = [font for font in fontManager.ttflist if "matplotlib" in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


@pytest.fixture
def cjk(tmp_path):
    """A font of the system with the signs for cat and dog, one wide and one tall, and the letters A to Z."""
    builder = FontBuilder(1000, isTTF=True)
    signs = [".notdef", "cat", "dog", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "space", "percent", *"0123456789"]
    builder.setupGlyphOrder([f"g{number}" if number else ".notdef" for number in range(len(signs))])
    codes = [0, ord(CAT), ord(DOG), *map(ord, "ABCDEFGHIJKLMNOPQRSTUVWXYZ %0123456789")]
    builder.setupCharacterMap({code: f"g{number}" for number, code in enumerate(codes) if number})
    glyphs = {}
    for number, name in enumerate(builder.font.getGlyphOrder()):
        pen = TTGlyphPen(None)
        right, top = {1: (900, 300), 2: (300, 900)}.get(number, (500, 500))
        for step, point in enumerate([(50, 0), (50, top), (right, top), (right, 0)]):
            (pen.lineTo if step else pen.moveTo)(point)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Signs", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "signs.ttf")
    fontManager.addfont(tmp_path / "signs.ttf")
    return str(tmp_path / "signs.ttf")


def grid(*names):
    return plot_grid([Tile(torch.zeros(3, 4, 4, dtype=torch.uint8), [name]) for name in names])


def test_a_font_of_the_system_is_found(cjk):
    assert find_font(CAT) == cjk
    assert find_font(f"{CAT} A 79%") == cjk
    assert shown_names([CAT, DOG]) == [CAT, DOG]


@pytest.mark.parametrize("names", [(CAT, DOG), ("Ω", "Я"), ("é", "ß"), ("😀", "☂")])
def test_different_names_look_different(cjk, names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (grid(name).tobytes() for name in names)
        matrices = [to_image(plot_confusion(torch.eye(2, dtype=torch.int64), [name, "x"])).tobytes() for name in names]
    assert first != second
    assert matrices[0] != matrices[1]


def test_without_a_font_the_number_of_the_class_is_shown(caplog):
    assert shown_names(["cat", CAT, "हिन्दी"]) == ["cat", "class 1", "class 2"]
    assert "install Noto Sans CJK, Noto Sans Devanagari" in caplog.text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_image(plot_confusion(torch.eye(2, dtype=torch.int64), [CAT, DOG]))
    shown_names([CAT, "हिन्दी"])
    assert caplog.text.count("install") == 2  # once for each set of fonts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat.png", "cat.png"),
        ("кошка.png", "кошка.png"),
        (f"{CAT}.png", "\\u732b.png"),
        ("caf\udce9.png", "caf\\xe9.png"),
        ("a\nb\t.png", "a\\nb\\t.png"),
    ],
)
def test_texts_that_no_font_has_are_escaped(text, shown):
    assert shown_text(text) == shown
    assert grid(text).tobytes() == grid(shown).tobytes()


def test_titles_in_any_script(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_curves([{"epoch": 1, "train/loss": 1.0}], tmp_path / "curves.png", f"{CAT}/a\nb/$x$")
