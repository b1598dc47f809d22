import pytest
import torch
from PIL import Image

from lit_vision import plots
from lit_vision.plots import plot_curves, plot_rate_search


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
