"""Load trained networks for predict and export, including those of the user's own classes."""

from importlib import import_module
from pathlib import Path

from lit_vision.errors import UserError
from lit_vision.models import Classifier
from lit_vision.parsing.config_content import read_config
from lit_vision.runs import CONFIG, find_checkpoint, logs_folder, run_of


def load_trained(ckpt_path: str, name: str | None = None, model: str | None = None) -> tuple[Classifier, Path]:
    """Load a trained network in eval mode, and return it with the path of its checkpoint.

    The module of a user's own class is imported only if ``model`` or the config.yaml of the checkpoint's run names it.
    A checkpoint that was moved out of its run imports nothing by itself.

    Args:
        ckpt_path: the path of a checkpoint, or best or last for that of the newest run.
        name: the name of the runs to look in; None for all runs.
        model: the network's class, such as my_net.MyNet; None for the one that the run's config.yaml names.

    Raises:
        UserError: the checkpoint or the class is missing, or they are not compatible.
    """
    checkpoint = find_checkpoint(ckpt_path, logs_folder(None), name)
    if model is not None:
        _import_class(model, "--model")
    elif (run := run_of(checkpoint)) is not None:
        model_options = read_config(run / CONFIG).get("model")
        class_path = model_options.get("class_path") if isinstance(model_options, dict) else None
        if isinstance(class_path, str) and "." in class_path:
            _import_class(class_path, str(run / CONFIG))
    return Classifier.load_from_checkpoint(checkpoint), checkpoint


def _import_class(class_path: str, source: str) -> None:
    module, _, name = class_path.rpartition(".")
    try:
        found = vars(import_module(module)).get(name) if module else None
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"{source} names {class_path}, but there is no module {error.name} in {Path.cwd()} or among the installed "
            "packages: run the command in the folder of the module, or install its package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Classifier)):
        raise UserError(
            f"{source} names {class_path}, which is not a Classifier: set --model to MODULE.CLASS of the network"
        )
