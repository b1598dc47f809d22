import numpy as np
import pytest
import torch

from lit_vision.plots import Tile, plot_grid


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


def test_pictures_can_be_larger():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    assert plot_grid([Tile(image, ["cat"])] * 9, side=192).size == (5 * 204, 2 * (192 + 18 + 12))
