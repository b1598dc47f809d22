"""What the command line does before it imports torch, which takes seconds."""

import re
from importlib.metadata import version

import pytest
from helpers import EXECUTABLE, run

import lit_vision

CHECK = """
import sys
from lit_vision.cli import main
code = main(sys.argv[1:])
print(*sorted({"torch", "lightning", "torchvision", "matplotlib", "tensorboard", "jsonargparse"} & set(sys.modules)))
sys.exit(code)
"""


def lean(process, *words):
    """Run a command line; fails if it imported a large library."""
    result = process("-c", CHECK, *words)
    *printed, imported = result.out.splitlines()
    assert imported == ""
    return result._replace(out="\n".join(printed))


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["tset", "--ckpt_path", "best"], []])
def test_the_start_is_quick(process, words):
    result = lean(process, *words)
    assert result.code == (0 if words and words[0].startswith("--") else 2), result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_the_check_finds_an_import_of_torch(process):
    with pytest.raises(AssertionError):
        lean(process, "validate")


def test_version(cli):
    for word in ("--version", "-V"):
        assert cli(word).out == f"lit-vision {version('lit-vision')}\n"
    assert lit_vision.__version__ == version("lit-vision")


def test_help_names_every_command(cli):
    result = cli("--help")
    assert (result.code, result.err) == (0, "")
    for command in ("fit", "validate", "test", "predict", "export", "lr-find"):
        assert re.search(rf"^ +{command}  +[A-Z].*\.$", result.out, re.MULTILINE), command


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("fti", "fit"),
        ("tset", "test"),
        ("valdate", "validate"),
        ("predit", "predict"),
        ("exprot", "export"),
        ("lr_find", "lr-find"),
        ("Fit", "fit"),
    ],
)
def test_a_mistyped_command_is_one_line_with_the_nearest(cli, typed, meant):
    result = cli(f"{typed} --config shapes.yaml")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert f"did you mean {meant}?" in result.err


def test_no_command_is_near_nonsense(cli):
    result = cli("xyzzy")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "did you mean" not in result.err
    assert "fit" in result.err


@pytest.mark.slow
def test_the_executable_gives_the_exit_code():
    assert run([EXECUTABLE, "--version"]).code == 0
    assert run([EXECUTABLE, "tset"]).code == 2
