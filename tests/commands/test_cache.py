import os

import pytest


@pytest.fixture
def pictures(folders):
    return folders({"train": {"red": 8, "blue": 8}, "val": {"red": 4, "blue": 4}}, size=64)


FIT = (
    "fit --config hymenoptera.yaml --data ImageFolderDataModule --data.image_size 64 --model.weights null "
    "--trainer.max_epochs 2 --pictures.every_n_validations 0"
)


def epochs(result):
    return [line.rpartition("  ")[0] for line in result.out.splitlines() if line.startswith("epoch")]


def test_the_figures_are_the_same_with_and_without_a_cache_and_the_cache_is_listed_and_cleared(cli, pictures):
    line = f"{FIT} --data.root {pictures}"
    without = cli(f"{line} --data.cache none")
    assert without.code == 0, without.err
    assert not os.path.exists(os.environ["LIT_VISION_CACHE"])
    first, second = cli(line), cli(line)
    assert epochs(first) == epochs(second) == epochs(without) != []
    listed = cli("cache").out
    assert listed.count("features of 8 images") == 2  # an image that is in train and in val counts once
    assert "which takes at most" in listed
    assert "removed" in cli("cache --clear").out
    assert "features" not in cli("cache").out
    assert epochs(cli(line)) == epochs(without)


def test_the_folder_of_the_cache_can_be_chosen(cli, pictures):
    assert cli(f"{FIT} --data.root {pictures} --data.cache kept").code == 0
    assert "features of 8 images" in cli("cache --data.cache kept").out
    assert cli("cache --data.cache none").out == "none keeps nothing\n"


def test_a_folder_that_cannot_be_used_is_one_line_and_the_run_goes_on(cli, pictures):
    open("file", "w").close()
    result = cli(f"{FIT} --data.root {pictures} --data.cache file")
    assert result.code == 0
    assert result.out.count("nothing is kept in file") == 1


def test_a_mistyped_option_is_one_line(cli):
    result = cli("cache --claer")
    assert result.code == 2
    assert "did you mean --clear?" in result.err
