"""Subcommands that need no more than a checkpoint: each is a function, its options are the function's."""

import sys

from jsonargparse import ArgumentError, ArgumentParser

from lit_vision.commands.export import export
from lit_vision.commands.predict import predict
from lit_vision.parsing.errors import explain


def export_parser() -> ArgumentParser:
    """The options of ``lit-vision export``."""
    parser = _parser("export", "Write a trained network for use without this project.")
    parser.add_function_arguments(export)
    return parser


def predict_parser() -> ArgumentParser:
    """The options of ``lit-vision predict``."""
    parser = _parser("predict", "Say what is on pictures.")
    what = "Files and folders; of a folder all images in it and in its folders."
    parser.add_argument("--images", type=str, nargs="+", required=True, metavar="FILE_OR_FOLDER", help=what)
    parser.add_function_arguments(predict, skip={"images", "tta"})
    views = "Take the mean over six views of every image, as in test (by default what the run was told)"
    parser.add_argument("--model.tta", type=bool | None, default=None, help=views)
    return parser


def _parser(name: str, description: str) -> ArgumentParser:
    return ArgumentParser(prog=f"lit-vision {name}", description=description, exit_on_error=False)


FUNCTIONS = {"export": export_parser, "predict": predict_parser}


def run_function(name: str, args: list[str]) -> None:
    """Run one of ``FUNCTIONS``; ends with exit code 1 if some image could not be read.

    Args:
        name: of the subcommand.
        args: the words after it.
    """
    parser = FUNCTIONS[name]()
    try:
        options = parser.parse_args(args).as_dict()
    except ArgumentError as error:
        raise explain(error, [option for action in parser._actions for option in action.option_strings]) from error
    if name == "export":
        export(**options)
    elif predict(**{key: value for key, value in options.items() if key != "model"}, tta=options["model"]["tta"]):
        sys.exit(1)
