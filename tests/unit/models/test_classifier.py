import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from lit_vision.data.batch import Batch
from lit_vision.errors import UserError
from lit_vision.models import Classifier, SmallCNN

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
NAMES = ["a", "b", "c"]


def batches(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [
        Batch(
            torch.randn(n, 3, 16, 16, generator=generator), torch.randint(3, (n,), generator=generator), torch.arange(n)
        )
        for n in sizes
    ]
    return DataLoader(made, batch_size=None)


def small(**options):
    return SmallCNN(class_names=NAMES, image_size=16, **options)


def test_loss_and_accuracy_are_means_over_samples():
    model, data = small(), batches([8, 8, 1])
    metrics = Trainer(**QUIET, enable_checkpointing=False).validate(model, data, verbose=False)[0]
    image, label = torch.cat([b.image for b in data]), torch.cat([b.label for b in data])
    with torch.no_grad():
        logits = model(image)
    assert metrics["val/loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, label).item(), rel=1e-6)
    assert metrics["val/acc"] == pytest.approx((logits.argmax(1) == label).float().mean().item())


def test_metrics_are_logged_once_an_epoch_and_start_anew():
    seen = []

    class Watched(SmallCNN):
        def log_dict(self, dictionary, *args, **kwargs):
            seen.append(sorted(dictionary))
            super().log_dict(dictionary, *args, **kwargs)

        def training_step(self, batch, batch_idx):
            assert self.images_seen == 4 * batch_idx
            return super().training_step(batch, batch_idx)

    trainer = Trainer(max_epochs=3, **QUIET, enable_checkpointing=False, num_sanity_val_steps=0)
    trainer.fit(Watched(class_names=NAMES, image_size=16), batches([4] * 5), batches([4] * 2))
    assert seen == [["val/acc", "val/loss"], ["train/acc", "train/loss"]] * 3


def test_a_checkpoint_opens_alone_and_gives_the_same_logits(tmp_path):
    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    model = small(hidden=(20, 10), activation="Tanh", lr=0.05, mean=(0.1, 0.2, 0.3))
    trainer.fit(model, batches([4] * 5))
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    for opened in (Classifier.load_from_checkpoint(path), SmallCNN.load_from_checkpoint(path)):
        assert isinstance(opened, SmallCNN)
        assert not opened.training
        assert opened.class_names == NAMES
        assert dict(opened.hparams) == dict(model.hparams)
        image = next(iter(batches([6]))).image
        assert torch.equal(opened(image), model.eval()(image))
    content = torch.load(path, weights_only=True)
    assert all(isinstance(value, (str, int, float, list, tuple)) for value in content["hyper_parameters"].values())


def test_options_win_over_the_checkpoint(tmp_path):
    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    trainer.fit(small(lr=0.1, weight_decay=0.1), batches([4] * 3))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Trainer(max_epochs=2, **QUIET, default_root_dir=tmp_path)
    again.fit(small(lr=0.003, momentum=0.5), batches([4] * 3), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    group = again.optimizers[0].param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.003, 0.5, 0.0)
    assert again.global_step == 6


def test_checkpoints_that_do_not_fit(tmp_path):
    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    trainer.fit(small(), batches([4]))
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    for model, message in (
        (small(hidden=(7, 8)), "layer1.weight has shape"),
        (SmallCNN(class_names=["a", "c", "b"], image_size=16), "knows the classes a, b, c"),
    ):
        with pytest.raises(UserError, match=message):
            Trainer(**QUIET, enable_checkpointing=False).validate(model, batches([4]), path, weights_only=True)

    class Other(SmallCNN):
        pass

    with pytest.raises(UserError, match="holds a SmallCNN"):
        Other.load_from_checkpoint(path)
    (tmp_path / "half.ckpt").write_bytes(path.read_bytes()[:1000])
    torch.save(small().state_dict(), tmp_path / "weights.pth")
    for name, message in (
        ("half.ckpt", "can be read"),
        ("weights.pth", "--model.weights"),
        ("none.ckpt", "there is no"),
    ):
        with pytest.raises(UserError, match=message):
            Classifier.load_from_checkpoint(tmp_path / name)


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


def test_a_schedule_that_goes_on_has_the_lr_and_length_of_its_own_run(tmp_path):
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


def test_labels_are_smoothed_in_training_alone():
    batch = next(iter(batches([8])))
    model = small(label_smoothing=0.3)
    plain = torch.nn.functional.cross_entropy(model(batch.image), batch.label)
    smooth = torch.nn.functional.cross_entropy(model(batch.image), batch.label, label_smoothing=0.3)
    assert model.step(batch, "train")[0].item() == pytest.approx(smooth.item())
    assert model.step(batch, "val")[0].item() == pytest.approx(plain.item())
    assert plain.item() != pytest.approx(smooth.item())
    with pytest.raises(UserError, match=r"--model\.label_smoothing"):
        small(label_smoothing=1.1)
