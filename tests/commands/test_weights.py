"""Files of weights are used as what they are, and no figure stands under wrong names."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LINE = "--config folder.yaml --data.image_size 16 --data.val_size 0 --trainer.max_epochs 1"
BEST = "lightning_logs/folder/version_0/checkpoints/best.ckpt"


@pytest.fixture
def trained(cli, folders):
    for name, classes in (("a", ("red", "blue")), ("b", ("cat", "dog")), ("c", ("red", "blue", "green"))):
        counts = dict.fromkeys(classes, 4)
        folders({"train": counts, "val": counts}, size=16, name=name)
    assert cli(f"fit {LINE} --data.root a").code == 0


@pytest.mark.parametrize("command", ["test", "validate"])
@pytest.mark.parametrize("option", ["--ckpt_path", "--model.weights"])
@pytest.mark.parametrize(
    ("data", "word"),
    [
        ("b", "other than blue, red"),
        ("c", "other than blue, red"),
        ("b --data.classes [cat,dog]", "knows the classes blue, red"),
        ("a --data.classes [red,blue]", "knows the classes blue, red"),
        ("a --data.mean 0.1", "trained with mean"),
        ("a --data.std [0.5,0.5,0.4]", "trained with std"),
    ],
)
def test_other_classes_and_other_normalisation_are_refused(trained, cli, command, option, data, word):
    before = sorted(Path().rglob("*"))
    result = cli(f"{command} {LINE} {option} {BEST} --data.root {data}")
    assert result.code == 2, result.out
    assert word in result.err
    assert result.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_the_same_is_evaluated(trained, cli):
    figures = [cli(f"test {LINE} {option} {BEST} --data.root a") for option in ("--ckpt_path", "--model.weights")]
    assert figures[0].code == figures[1].code == 0
    assert [line for line in figures[0].out.splitlines() if "test/" in line] == [
        line for line in figures[1].out.splitlines() if "test/" in line
    ]


def test_bare_weights_are_taken_at_their_word(trained, cli):
    assert cli(f"export --ckpt_path {BEST} --output x.pth").code == 0
    result = cli(f"test {LINE} --model.weights x.pth --data.root b")
    assert result.code == 0
    assert "x.pth does not say which classes it knows: they are taken to be cat, dog" in result.out


def test_a_network_for_other_classes_starts_from_all_but_the_last_layer(trained, cli):
    result = cli(f"fit {LINE} --model.weights {BEST} --data.root c")
    assert result.code == 0, result.err
    assert (
        "knows the classes blue, red instead of blue, green, red: all layers but the last start from it" in result.out
    )


def test_a_run_does_not_go_on_with_another_normalisation(trained, cli):
    before = {path: path.read_bytes() for path in Path("lightning_logs").rglob("*") if path.is_file()}
    result = cli("fit --ckpt_path last --trainer.max_epochs 2 --data.mean 0.1")
    assert result.code == 2
    assert "trained with mean" in result.err
    assert {path: path.read_bytes() for path in Path("lightning_logs").rglob("*") if path.is_file()} == before
    assert not list(Path("lightning_logs").glob("*/version_1"))
