import math
import sys

import pytest
import torch
from lightning.pytorch import Trainer
from model_helpers import NAMES, QUIET, batches, small

from lit_vision.data import ShapesDataModule
from lit_vision.errors import UserError
from lit_vision.models import SmallCNN, WhitenedCNN
from lit_vision.optim import cosine, one_cycle, optimizers


def rates(trainer_options, resume=None, **options):
    """The learning rate of every step."""
    seen = []

    class Watched(SmallCNN):
        def training_step(self, batch, batch_idx):
            seen.append(self.trainer.optimizers[0].param_groups[0]["lr"])
            return super().training_step(batch, batch_idx)

    trainer = Trainer(**QUIET, enable_checkpointing=False, **trainer_options)
    model = Watched(class_names=NAMES, image_size=16, **options)
    trainer.fit(model, batches([4] * 10), ckpt_path=resume, weights_only=True)
    return seen, trainer


def test_one_cycle_rises_and_falls_over_the_whole_run():
    seen, _ = rates({"max_epochs": 4}, lr=1.0, schedule="one_cycle")
    assert seen[0] == pytest.approx(0.04)
    assert seen[1] == pytest.approx(0.52)
    assert seen[2] == 1.0 == max(seen)
    assert seen[21] == pytest.approx(0.5)
    assert seen[39] == pytest.approx(1 / 38)
    late, _ = rates({"max_epochs": 4}, lr=1.0, schedule="one_cycle", warmup=0.25)
    assert late[10] == 1.0 == max(late)
    assert (late[5], late[25]) == pytest.approx((0.52, 0.5))
    with pytest.raises(UserError, match=r"--model\.warmup"):
        small(warmup=1.0)
    assert rates({"max_steps": 20}, lr=1.0, schedule="one_cycle")[0] == pytest.approx(seen[::2])
    accumulated, _ = rates({"max_epochs": 4, "accumulate_grad_batches": 2}, lr=1.0, schedule="one_cycle")
    assert accumulated[::2] == pytest.approx(seen[::2])


def test_a_schedule_of_a_resumed_run_has_the_lr_and_length_of_its_own_run(tmp_path):
    path = tmp_path / "x.ckpt"
    _, trainer = rates({"max_epochs": 1}, lr=1.0, schedule="one_cycle")
    trainer.save_checkpoint(path)
    longer, _ = rates({"max_epochs": 4}, path, lr=0.1, schedule="one_cycle")
    assert longer == pytest.approx(rates({"max_epochs": 4}, lr=0.1, schedule="one_cycle")[0][10:])
    constant, _ = rates({"max_epochs": 2}, path, lr=0.3)
    assert constant == [0.3] * 10


def test_a_schedule_needs_an_end():
    with pytest.raises(UserError, match=r"--trainer\.max_epochs"):
        rates({"max_epochs": -1, "max_time": "00:00:01:00"}, schedule="one_cycle")


def test_the_optimizer_is_fused_and_clips_where_it_must():
    _, trainer = rates({"max_epochs": 1}, momentum=0.5, nesterov=True)
    group = trainer.optimizers[0].param_groups[0]
    assert (group["fused"], group["nesterov"], group["momentum"]) == (True, True, 0.5)
    _, trainer = rates({"max_epochs": 1, "gradient_clip_val": 0.5, "precision": "bf16-mixed"})
    assert not trainer.optimizers[0].param_groups[0]["fused"]
    with pytest.raises(UserError, match="nesterov needs momentum"):
        small(nesterov=True, momentum=0.0)


def test_options_win_over_the_checkpoint(tmp_path):
    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    trainer.fit(small(lr=0.1, weight_decay=0.1), batches([4] * 3))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Trainer(max_epochs=2, **QUIET, default_root_dir=tmp_path)
    again.fit(small(lr=0.003, momentum=0.5), batches([4] * 3), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    group = again.optimizers[0].param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.003, 0.5, 0.0)
    assert again.global_step == 6


def test_a_schedule_and_a_checkpoint_keep_the_ratio_of_the_learning_rates(tmp_path):
    rates = []

    class Watched(WhitenedCNN):
        def on_train_batch_start(self, batch, batch_idx):
            super().on_train_batch_start(batch, batch_idx)
            rates.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])

    data = ShapesDataModule(batch_size=50, train_size=300, test_size=50, val_size=50, seed=0)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    options = {"widths": (8, 16, 16), "bias_lr_scale": 10.0, "weight_decay": 0.01, "schedule": "one_cycle"}
    trainer = Trainer(max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(Watched(lr=0.1, **options), data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Trainer(max_epochs=2, enable_model_summary=False, **quiet)
    again.fit(Watched(lr=0.2, **options), data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    expected = [0.1 * one_cycle(step / 5) for step in range(5)] + [0.2 * one_cycle(step / 10) for step in range(5, 10)]
    assert [rest for rest, _ in rates] == pytest.approx(expected)
    assert all(biases == pytest.approx(10 * rest) for rest, biases in rates)
    rest, biases = again.optimizers[0].param_groups
    assert rest["weight_decay"] == pytest.approx(10 * biases["weight_decay"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, r"lr -1 is below 0: set --model\.lr to at least 0"),
        ({"lr": float("nan")}, "lr nan is below 0"),
        ({"momentum": -0.1}, r"momentum -0\.1 is below 0.*--model\.momentum"),
        ({"weight_decay": -1e-4}, r"weight_decay -0\.0001 is below 0.*--model\.weight_decay"),
        ({"warmup": -0.1}, r"warmup -0\.1 is out of range.*--model\.warmup"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        small(**options)


def test_a_tuner_may_change_the_options_before_training():
    model = small(lr=0.1, schedule="one_cycle")
    model.hparams["lr"], model.hparams["schedule"] = 0.2, "constant"
    trainer = Trainer(**QUIET, enable_checkpointing=False, max_epochs=1)
    trainer.fit(model, batches([4] * 3))
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.2


def test_a_constant_schedule_leaves_the_rate_to_others():
    class Own(SmallCNN):
        def on_train_batch_start(self, batch, batch_idx):
            super().on_train_batch_start(batch, batch_idx)
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] *= 0.5

    trainer = Trainer(**QUIET, enable_checkpointing=False, max_epochs=1)
    trainer.fit(Own(class_names=NAMES, image_size=16, lr=0.8), batches([4] * 3))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1)


def test_an_optimizer_of_ones_own_keeps_its_saved_options(tmp_path):
    class Own(SmallCNN):
        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.3)

    def make(lr):
        return Own(class_names=NAMES, image_size=16, lr=lr, schedule="one_cycle", warmup=0.0)

    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    trainer.fit(make(0.01), batches([4] * 3))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Trainer(max_epochs=2, **QUIET, default_root_dir=tmp_path)
    again.fit(make(0.02), batches([4] * 3), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    group = again.optimizers[0].param_groups[0]
    assert group["weight_decay"] == 0.3
    assert group["lr"] == pytest.approx(0.02 / 6)  # the schedule is that of any optimizer


def test_cosine_rises_and_falls_over_the_whole_run():
    seen, _ = rates({"max_epochs": 4}, lr=1.0, schedule="cosine", warmup=0.25)
    assert (seen[0], seen[5], seen[10], seen[25]) == pytest.approx((0.04, 0.52, 1.0, 0.5))
    assert seen[39] == pytest.approx((1 + math.cos(math.pi * 29 / 30)) / 2)
    assert cosine(1.0) == 0.0


@pytest.mark.parametrize("fast", [True, False])
def test_muon_multiplies_in_float32_where_bfloat16_is_slow(monkeypatch, fast):
    module = pytest.importorskip("timm.optim.muon")
    used = []
    orthogonalize = module.zeropower_via_newtonschulz

    def spy(*args, dtype=torch.bfloat16, **options):
        used.append(dtype)
        return orthogonalize(*args, dtype=dtype, **options)

    monkeypatch.setattr(module, "zeropower_via_newtonschulz", spy)
    monkeypatch.setattr(optimizers, "has_fast_bfloat16", lambda device: fast)
    model = small(optimizer="muon")
    optimizer = model.configure_optimizers()
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    (optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer).step()
    assert set(used) == {torch.bfloat16 if fast else torch.float32}


def test_muon_without_timm(monkeypatch):
    for name in ("timm", "timm.optim", "timm.optim.muon"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"muon needs timm: install it with pip install 'lit-vision\[timm\]'"):
        small(optimizer="muon")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_biases_do_not_decay(optimizer):
    pytest.importorskip("timm")
    groups = small(optimizer=optimizer, weight_decay=0.1, lr=0.01).configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])
