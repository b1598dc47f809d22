import numpy as np
import pytest
import torch
from PIL import Image

from lit_vision import plots
from lit_vision.plots import Tile, plot_confusion, plot_curves, plot_grid, plot_rate_search, to_image


def test_a_small_image_is_enlarged_without_blur():
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    image[0, 0, 0] = image[1, 1, 1] = 255
    grid = np.asarray(plot_grid([Tile(image, [])]))
    shown = {tuple(colour) for colour in grid.reshape(-1, 3).tolist()}
    assert shown == {(255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)}
    assert (grid == [255, 0, 0]).all(2).sum() == 64 * 64  # a pixel of 2 is 64 of 128


@pytest.mark.parametrize("side", [32, 224, 130])
def test_text_is_never_cut(side):
    image = torch.zeros(3, side, side, dtype=torch.uint8)
    name = "the northern European great black-backed woodpecker"
    short, long = (np.asarray(plot_grid([Tile(image, [line])] * 9)) for line in ("cat", name))
    assert short.shape[1] == 8 * 140
    assert long.shape[1] <= 1200
    for grid in (short, long):  # nothing touches the edges
        assert (grid[:, 0] == 255).all()
        assert (grid[:, -1] == 255).all()
    once = np.asarray(plot_grid([Tile(image, [name])]))
    assert (once[140:] < 128).any(2).sum() > 3 * (np.asarray(plot_grid([Tile(image, ["cat"])]))[140:] < 128).any(
        2
    ).sum()


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_a_confusion_matrix_of_any_size(classes):
    matrix = torch.eye(classes, dtype=torch.int64) * 1000
    matrix[0] = 0  # a class without images
    picture = to_image(plot_confusion(matrix, [f"class {number}" for number in range(classes)]))
    assert isinstance(picture, Image.Image)
    assert 400 < picture.width < 2000
    assert (8, 48, 107) in {colour for _, colour in picture.getcolors(2**20)}  # the darkest of Blues: all recognised


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_counts_are_legible_and_zeros_are_blank():
    figure = plot_confusion(torch.tensor([[900, 100, 0], [1200, 1800, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert texts(figure) == ["900", "100", "1,200", "1,800"]
    colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert colours == {"900": "white", "100": "black", "1,200": "black", "1,800": "black"}
    assert figure.get_suptitle() == "accuracy 0.6750 on 4,000 images"
    assert [text.get_text() for text in figure.axes[1].texts] == ["0.900", "0.600", "no images"]
    assert figure.axes[1].get_xlabel() == "recall"


def test_a_colour_is_the_same_share_in_every_matrix():
    for matrix in ([[4, 6], [6, 4]], [[10, 0], [0, 10]]):
        (picture,) = plot_confusion(torch.tensor(matrix), ["a", "b"]).axes[0].images
        assert picture.get_clim() == (0, 1)


def test_a_matrix_without_images_can_be_drawn():
    figure = plot_confusion(torch.zeros(2, 2, dtype=torch.int64), ["a", "b"])
    assert figure.get_suptitle() == "accuracy 0.0000 on 0 images"
    to_image(figure)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws into a file, and gives the figure: drawn(plot, *args)."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (figures.append(self), save(self, *args, **kwargs))
    )

    def draw(plot, *args, **kwargs):
        plot(*args, path=tmp_path / "plot.png", **kwargs)
        assert Image.open(tmp_path / "plot.png").width > 600
        return figures[-1]

    return draw


ROWS = [
    {"epoch": 1, "train/loss": 2.0, "train/acc": 0.90, "val/loss": 2.1, "val/acc": 0.91},
    {"epoch": 2, "train/loss": 1.0, "train/acc": 0.95, "val/loss": 1.2, "val/acc": 0.94},
    {"epoch": 3, "train/loss": 0.5, "train/acc": 0.97, "val/loss": 1.3, "val/acc": 0.94},
]


def test_curves_name_the_run_and_mark_its_best_epoch(drawn):
    figure = drawn(plot_curves, ROWS, title="shapes/version_0")
    assert figure.get_suptitle() == "shapes/version_0"
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert labels == [["train", "validation", f"best epoch 2: {figures}"] for figures in ("1.2000", "0.9400")]
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]


def test_curves_mark_the_epoch_that_the_run_chooses(drawn):
    rows = [{**row, "val/acc": 0.9 + 0.01 * number} for number, row in enumerate(ROWS)]
    for monitor, best in (("val/acc", 3), ("val/loss", 2)):
        (line,) = (
            line for line in drawn(plot_curves, rows, monitor=monitor).axes[0].lines if line.get_linestyle() == "--"
        )
        assert line.get_label().startswith(f"best epoch {best}")


def test_curves_do_not_exaggerate(drawn):
    loss, accuracy = drawn(plot_curves, ROWS).axes
    assert loss.get_ylim()[0] == 0
    assert accuracy.get_ylim()[0] == 0
    assert 1 <= accuracy.get_ylim()[1] < 1.1


def test_a_third_chart_is_drawn_beside_the_others(drawn, monkeypatch):
    monkeypatch.setitem(plots.CHARTS, "calibration error", "ece")
    figure = drawn(plot_curves, [{**row, "val/ece": 0.1} for row in ROWS])
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "calibration error"]
    assert figure.axes[1].get_ylim()[1] > 1 > figure.axes[2].get_ylim()[1]


def test_curves_without_validation(drawn):
    figure = drawn(plot_curves, [{"epoch": 1, "train/loss": -1.0, "train/acc": 0.5}])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["train"]
    assert figure.axes[0].get_ylim()[0] < -1  # a loss of one's own may be negative


def test_curves_of_a_model_that_logs_accuracy_alone(drawn, recwarn):
    figure = drawn(plot_curves, [{"epoch": 1, "val/acc": 0.5}])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["best epoch 1"]
    drawn(plot_curves, [{"epoch": 1}])
    assert [str(warning.message) for warning in recwarn if warning.category is UserWarning] == []


@pytest.mark.parametrize("suggestion", [0.01, None])
def test_a_rate_search(drawn, suggestion):
    rates = torch.logspace(-4, 0, 40, dtype=torch.float64)
    losses = torch.linspace(2, 1, 40, dtype=torch.float64)
    figure = drawn(plot_rate_search, rates, losses, losses.unfold(0, 4, 1).mean(1), suggestion)
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["loss of a batch", "mean", *(["suggestion 0.01"] if suggestion else [])]
    assert axes.get_xscale() == "log"
    trend = axes.lines[1].get_xdata()
    assert trend[0] == rates[1]
    assert len(trend) == 37


def test_a_search_without_losses_can_be_drawn(drawn):
    drawn(plot_rate_search, *(torch.empty(0, dtype=torch.float64) for _ in range(3)), None)


def test_pictures_can_be_larger():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    assert plot_grid([Tile(image, ["cat"])] * 9, side=192).size == (5 * 204, 2 * (192 + 18 + 12))
