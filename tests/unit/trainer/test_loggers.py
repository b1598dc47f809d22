from pathlib import Path

import pytest
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger

from lit_vision.trainer.loggers import continue_tables, continue_versions

RUN = Path("mine/name/version_3")


def options(**init_args):
    return Namespace(class_path="lightning.pytorch.loggers.CSVLogger", init_args=Namespace(**init_args))


@pytest.mark.parametrize(
    ("logger", "version"),
    [
        (options(save_dir="mine", name="name", version=None), "version_3"),
        (options(save_dir="./mine/", name="name", version=7), "version_3"),
        (options(save_dir="mine/name", name=None, version=None), "version_3"),
        (options(save_dir="mine", name="other", version=None), None),
        (options(save_dir="mine/name/version_3", name="", version="a"), ""),
        (options(save_dir="mine", name="", version=None), None),  # another logger's, though it is below this one's
        (options(save_dir="mine", name="", version=None, sub_dir="version_3"), "name"),
        (options(save_dir=None, name="name", version=None), None),
    ],
)
def test_a_logger_that_wrote_to_a_run_does_so_again(logger, version):
    for loggers in (logger, [True, logger]):
        continue_versions(loggers, RUN)
    assert logger.init_args.version == version


def test_other_values_are_left_alone():
    for loggers in (None, True, False, [], [options(name="x")]):
        continue_versions(loggers, RUN)


@pytest.mark.parametrize("until", [None, 20])
def test_a_table_goes_on(until):
    first = CSVLogger("mine", "name", "version_3")
    for step in (10, 20, 30):
        first.log_metrics({"a": step}, step)
    first.save()
    again = CSVLogger("mine", "name", "version_3")
    continue_tables([again], RUN, until)
    again.log_metrics({"a": 40, "b": 1}, 40)
    again.save()
    rows = (RUN / "metrics.csv").read_text().split()
    assert rows == ["a,b,step", "10,,10", "20,,20", *(["30,,30"] if until is None else []), "40,1,40"]
