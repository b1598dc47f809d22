import pytest
import torch
from PIL import Image

from lit_vision.plots import plot_confusion, to_image


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
