"""A damaged file is refused in a line, and a run goes on from the checkpoint before it."""

import random

import pytest
import torch
from helpers import RUN, TINY, rows_of, same, weights

from lit_vision.errors import UserError
from lit_vision.models.checkpoint import read_dictionary

CHECKPOINTS = RUN / "checkpoints"
LAST, PREVIOUS = CHECKPOINTS / "last.ckpt", CHECKPOINTS / "previous.ckpt"
LINE = f"{TINY} --trainer.accelerator cpu --checkpoint.every_n_steps 4 --trainer.max_epochs"


def flip(path, place=0.5):
    """Change a bit."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        f"fit --ckpt_path {LAST} --trainer.max_epochs 3",
        f"test --ckpt_path {LAST}",
        f"validate --ckpt_path {LAST}",
        f"predict --ckpt_path {LAST} --images .",
        f"export --ckpt_path {LAST} --output x.pt2",
        f"{TINY} --model.weights {LAST}",
    ],
)
def test_every_command_refuses_a_damaged_checkpoint(cli, fitted, line):
    fitted(f"{LINE} 2")
    before = weights(PREVIOUS)
    flip(LAST)
    result = cli(line)
    assert result.code == 2
    (error,) = result.err.splitlines()
    assert f"{LAST} is damaged (its checksums do not match): use {PREVIOUS}, the one before it" in error
    assert same(weights(PREVIOUS), before)


@pytest.mark.slow
def test_a_run_goes_on_from_the_checkpoint_before_and_ends_as_if_nothing_had_happened(cli, fitted):
    fitted(f"{LINE} 2")
    expected = RUN.rename(RUN.with_name("whole"))
    assert cli(f"{LINE} 1").code == 0
    step = torch.load(PREVIOUS, weights_only=True)["global_step"]
    assert 0 < step < torch.load(LAST, weights_only=True)["global_step"]
    flip(LAST)
    result = cli("fit --ckpt_path last --trainer.max_epochs 2")
    assert result.code == 0, result.err
    assert f"{LAST} is damaged (its checksums do not match): using {PREVIOUS}, the one before it" in result.out
    assert rows_of(RUN) == rows_of(expected)
    assert same(weights(LAST), weights(expected / "checkpoints" / "last.ckpt"))
    assert not RUN.with_name("version_1").exists()


@pytest.mark.slow
def test_without_one_before_it_the_line_says_what_else_there_is(cli, fitted):
    fitted(f"{LINE} 2")
    PREVIOUS.unlink()
    flip(LAST)
    (error,) = cli("fit --ckpt_path last --trainer.max_epochs 3").err.splitlines()
    assert f"{LAST} is damaged (its checksums do not match): use another file" in error


def test_no_damage_is_read_silently(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {str(n): torch.randn(50, 20) for n in range(12)}, "step": 3, "name": "x"}, path)
    whole, expected = path.read_bytes(), flat(torch.load(path, weights_only=True))
    draw = random.Random(0)
    refused = 0
    for number in range(500):
        content = bytearray(whole)
        place = draw.randrange(len(whole))
        if number % 3 == 0:
            content[place] ^= draw.randrange(1, 256)
        elif number % 3 == 1:
            page = slice(place & ~4095, (place & ~4095) + 4096)
            content[page] = bytes(len(content[page]))
        else:
            del content[place:]
        path.write_bytes(content)
        try:
            read = flat(read_dictionary(path, "checkpoint"))
        except UserError:
            refused += 1
            continue
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[key], expected[key]) for key in expected), (number, place)
    assert refused > 450  # the rest is in padding


def flat(content):
    return {
        **content["state_dict"],
        **{key: torch.tensor([*str(value).encode()]) for key, value in content.items() if key != "state_dict"},
    }


def test_the_guard_is_what_finds_the_damage(tmp_path, monkeypatch):
    """Without the checksums, a flipped bit is trained on."""
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(10_000)}}, path)
    flip(path)
    with pytest.raises(UserError, match="checksums do not match"):
        read_dictionary(path, "checkpoint")
    monkeypatch.setattr("lit_vision.utils.torch_file.find_damage", lambda path: None)
    assert read_dictionary(path, "checkpoint")["state_dict"]["a"].any()


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 300, 310])
def test_a_config_that_a_power_cut_left_is_named(cli, fitted, left):
    fitted(f"{LINE} 2")
    config = RUN / "config.yaml"
    config.write_bytes(config.read_bytes()[:left])
    predict = [] if left == 310 else ["predict --ckpt_path best --images ."]  # which needs the network's class alone
    for line in ("fit --ckpt_path last --trainer.max_epochs 3", "test --ckpt_path best", *predict):
        result = cli(line)
        assert result.code == 2
        (error,) = result.err.splitlines()
        assert str(config) in error
