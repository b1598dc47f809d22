import os
import signal
import threading

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_vision.callbacks import BestAndLast
from lit_vision.callbacks.signals import SignalWatch
from lit_vision.data import ShapesDataModule
from lit_vision.errors import TrainingInterrupted
from lit_vision.models import SmallCNN

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def handlers():
    """Handlers of this test's own, which note the signals that reach them."""
    noted = []
    before = {signum: signal.signal(signum, lambda received, _: noted.append(received)) for signum in BOTH}
    mine = current()
    yield mine, noted
    for signum, handler in before.items():
        signal.signal(signum, handler)


def current():
    return {signum: signal.getsignal(signum) for signum in BOTH}


class Act(Callback):
    """Does something at the end of a batch, counted from 1."""

    def __init__(self, batch, action):
        self.batch = batch
        self.action = action

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.batch:
            self.action()


def fit(folder, *callbacks, **options):
    data = ShapesDataModule(train_size=50, test_size=10, val_size=10, batch_size=10)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        default_root_dir=folder, max_epochs=2, accelerator="cpu", callbacks=[*callbacks, BestAndLast()], **quiet
    )
    trainer.fit(SmallCNN(class_names=data.class_names), data)
    return trainer


def test_the_handlers_of_before_come_back_after_a_fit(handlers, tmp_path):
    seen = []
    fit(tmp_path, Act(2, lambda: seen.append(current())))
    mine, _ = handlers
    assert all(seen[0][signum] != mine[signum] for signum in BOTH)
    assert current() == mine


def test_the_handlers_of_before_come_back_after_an_exception(handlers, tmp_path):
    def fail():
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fit(tmp_path, Act(2, fail))
    assert current() == handlers[0]


@pytest.mark.parametrize("signum", BOTH)
def test_a_signal_stops_between_two_steps_and_the_handlers_come_back(handlers, tmp_path, signum):
    mine, noted = handlers
    with pytest.raises(TrainingInterrupted) as stopped:
        fit(tmp_path, Act(2, lambda: os.kill(os.getpid(), signum)))
    assert stopped.value.signum == signum
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    assert current() == mine
    assert noted == []


def test_the_same_callback_can_be_used_for_another_fit_after_a_signal(tmp_path):
    callback = BestAndLast()
    callbacks = [Act(2, lambda: os.kill(os.getpid(), signal.SIGTERM)), callback]
    data = ShapesDataModule(train_size=50, test_size=10, val_size=10, batch_size=10)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    for number, expected in ((0, TrainingInterrupted), (1, None)):
        trainer = Trainer(
            default_root_dir=tmp_path / str(number),
            max_epochs=1,
            accelerator="cpu",
            callbacks=callbacks[number:],
            **quiet,
        )
        if expected is None:
            trainer.fit(SmallCNN(class_names=data.class_names), data)
            assert trainer.global_step == 4
        else:
            with pytest.raises(expected):
                trainer.fit(SmallCNN(class_names=data.class_names), data)


def test_the_second_signal_goes_to_the_handler_of_before(handlers):
    mine, noted = handlers
    watch = SignalWatch()
    watch.start()
    os.kill(os.getpid(), signal.SIGINT)
    assert noted == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGINT)
    assert noted == [signal.SIGINT]
    watch.stop()
    watch.stop()
    assert current() == mine


def test_ranks_agree_on_the_signal_that_any_of_them_received(handlers):
    class Strategy:
        root_device = "cpu"

        def reduce(self, tensor, reduce_op):
            assert reduce_op == "max"
            return tensor.new_tensor(max(tensor.item(), self.of_the_other_rank))

    class TwoRanks:
        world_size = 2
        strategy = Strategy()

    watch, trainer = SignalWatch(), TwoRanks()
    watch.start()
    trainer.strategy.of_the_other_rank = 0
    assert watch.agreed(trainer) == 0
    trainer.strategy.of_the_other_rank = signal.SIGTERM
    assert watch.agreed(trainer) == signal.SIGTERM
    watch.stop()


def test_a_thread_trains_without_handlers(tmp_path):
    before = current()
    trained = []

    def train():
        trained.append(fit(tmp_path).global_step)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert trained == [8]
    assert current() == before


def test_best_and_last_is_a_checkpoint_callback_that_lightning_runs_last():
    trainer = Trainer(callbacks=[BestAndLast(), Act(0, None)], logger=False, accelerator="cpu")
    assert isinstance(trainer.callbacks[-1], BestAndLast)
    assert isinstance(trainer.callbacks[-1], Checkpoint)
