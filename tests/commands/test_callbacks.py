"""Lightning's callbacks beside ours: a run that stops in the middle of an epoch goes on exactly, or is refused."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import TINY, rows_of, same, weights

pytestmark = pytest.mark.slow

RUN = Path("lightning_logs/shapes/version_0")
LINE = f"{TINY} --trainer.max_epochs 3 --trainer.accelerator cpu"
ADD = "--trainer.callbacks+="
EXACT = {
    "early stopping": f"{ADD}EarlyStopping --trainer.callbacks.monitor val/loss --trainer.callbacks.patience 5",
    "checkpoint": f"{ADD}ModelCheckpoint --trainer.callbacks.save_top_k -1 --trainer.callbacks.filename {{epoch}}",
    "timer": f"{ADD}Timer --trainer.callbacks.duration 01:00:00:00",
    "accumulation": f'{ADD}GradientAccumulationScheduler --trainer.callbacks.scheduling {{"0":2,"1":3}}',
    "lr monitor": f"{ADD}LearningRateMonitor --trainer.callbacks.logging_interval step",
    "average": f"{ADD}EMAWeightAveraging --trainer.callbacks.decay 0.9",
    "lambda": f"{ADD}LambdaCallback",
    "summary": f"{ADD}ModelSummary --trainer.callbacks.max_depth 2",
    "rich": f"{ADD}RichProgressBar --trainer.callbacks+=RichModelSummary",
    "psutil": f"{ADD}DeviceStatsMonitor",
    "bar": f"{ADD}TQDMProgressBar --trainer.callbacks.refresh_rate 5",
}
REFUSED = {
    "swa": (f"{ADD}StochasticWeightAveraging --trainer.callbacks.swa_lrs 0.1", "EMAWeightAveraging"),
    "rates": (f"{ADD}LearningRateFinder", "lr-find"),
    "batches": (f"{ADD}BatchSizeFinder", "--data.batch_size"),
    "rich": (f"{ADD}RichProgressBar", "rich"),
    "psutil": (f"{ADD}DeviceStatsMonitor", "psutil"),
}


@pytest.mark.parametrize("name", EXACT)
def test_it_goes_on_exactly(cli, interrupted, name):
    options = EXACT[name]
    if name in ("rich", "psutil") and not find_spec(name):
        pytest.skip(f"{name} is not installed")
    interrupt = "--trainer.callbacks+=interrupt.Interrupt --trainer.callbacks.batch 15"
    assert cli(f"{LINE} {options} {interrupt}").code == 130  # in the second epoch of ten batches
    config = (RUN / "config.yaml").read_text()
    assert "interrupt.Interrupt" in config
    result = cli(f"fit --ckpt_path last --trainer.callbacks null {options}")
    assert result.code == 0, result.err
    whole = cli(f"{LINE} {options}")
    assert whole.code == 0, whole.err
    other = RUN.with_name("version_1")
    assert rows_of(other) == rows_of(RUN)
    names = [path.name for path in sorted((other / "checkpoints").glob("*.ckpt"))]
    assert [path.name for path in sorted((RUN / "checkpoints").glob("*.ckpt"))] == names
    for name in names:
        if name != "previous.ckpt":  # which is from before the interruption in one of them
            assert same(*(weights(run / "checkpoints" / name) for run in (other, RUN))), name


@pytest.mark.parametrize(("options", "word"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(cli, options, word):
    if word in ("rich", "psutil") and find_spec(word):
        pytest.skip(f"{word} is installed")
    result = cli(f"{LINE} {options}")
    assert result.code == 2, result.out
    assert word in result.err
    assert result.err.count("\n") == 1
    assert not Path("lightning_logs").exists()


@pytest.mark.parametrize(
    "options",
    [
        "--model TransferClassifier --model.weights null --trainer.callbacks+=BackboneFinetuning",
        f"{ADD}ModelPruning --trainer.callbacks.pruning_fn l1_unstructured --trainer.callbacks.amount 0.1",
    ],
)
def test_it_is_refused_when_it_goes_on(cli, options):
    tiny = "--data.train_size 140 --trainer.limit_val_batches 1 --trainer.max_epochs 1"
    assert cli(f"{LINE} {tiny} {options}").code == 0
    result = cli("fit --ckpt_path last --trainer.max_epochs 2")
    assert result.code == 2
    assert "cannot be resumed" in result.err


def test_the_time_is_up_in_the_middle_of_an_epoch(cli, monkeypatch):
    Path("late.py").write_text(
        "from lightning.pytorch.callbacks import Timer\n"
        "class Late(Timer):\n"
        "    '''Its time is up after so many batches.'''\n"
        "    def __init__(self, batches: int):\n"
        "        super().__init__('00:01:00:00')\n"
        "        self.left = batches\n"
        "    def on_train_batch_end(self, *args, **kwargs):\n"
        "        self.left -= 1\n"
        "        if self.left == 0:\n"
        "            self._duration = 0\n"
        "        super().on_train_batch_end(*args, **kwargs)\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    sys.modules.pop("late", None)
    assert cli(LINE).code == 0
    for batches, words in ((15, "in epoch 2, after step 15"), (20, "after epoch 2"), (2, "in epoch 1, after step 2")):
        name = f"cut{batches}"
        result = cli(f"{LINE} --name {name} {ADD}late.Late --trainer.callbacks.batches {batches}")
        assert result.code == 0, result.err
        assert f"ended {words}: the time of --trainer.max_time is up" in result.out
        cut = Path(f"lightning_logs/{name}/version_0")
        result = cli("fit --ckpt_path last --trainer.callbacks null")
        assert result.code == 0, result.err
        assert rows_of(cut) == rows_of(RUN)
        for file in ("best.ckpt", "last.ckpt"):
            assert same(*(weights(run / "checkpoints" / file) for run in (cut, RUN)))


def test_the_time_that_is_left_is_used(cli):
    assert cli(f"{LINE} --trainer.max_epochs 400 --trainer.max_time 00:00:00:01").code == 0
    again = cli("fit --ckpt_path last")
    assert again.code == 2
    assert "raise --trainer.max_time" in again.err


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        ("--trainer.accumulate_grad_batches 2", "--trainer.accumulate_grad_batches 1", "accumulate_grad_batches 2"),
        ("", "--trainer.limit_train_batches 7", "num_training_batches 10"),
        ("", "--seed_everything 1", "in the order of seed 0, which cannot continue with 1"),
        ("", "--data.batch_size 31", "in batches of 32, which"),
        ("", "--data.train_size 401", "of 300 images, which"),
    ],
)
def test_what_an_epoch_consists_of_cannot_change_within_it(cli, interrupted, options, change, words):
    assert interrupted(15, f"{LINE} {options}").code == 130
    resume = "fit --ckpt_path last --trainer.callbacks null"
    before = {path: path.read_bytes() for path in Path("lightning_logs").rglob("*") if path.is_file()}
    result = cli(f"{resume} {change}")
    assert result.code == 2, result.out
    assert words in result.err
    assert {path: path.read_bytes() for path in Path("lightning_logs").rglob("*") if path.is_file()} == before
    assert cli(resume).code == 0
    assert cli(f"{resume} --trainer.max_epochs 4 {change}").code == 0


def test_two_commands_cannot_write_to_one_run(cli, monkeypatch):
    Path("twice.py").write_text(
        "from lightning.pytorch import Callback\n"
        "class Twice(Callback):\n"
        "    def on_train_start(self, *args):\n"
        "        from lit_vision.cli import main\n"
        "        print('second', main(['fit', '--ckpt_path', 'last', '--trainer.callbacks', 'null']))\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    sys.modules.pop("twice", None)
    assert cli(LINE).code == 0
    result = cli(f"fit --ckpt_path last --trainer.max_epochs 4 {ADD}twice.Twice")
    assert result.code == 0, result.err
    assert "second 2" in result.out
    assert "another process is writing to lightning_logs/shapes/version_0" in result.err
    assert len(rows_of(RUN)) == 4
