"""Properties that hold for all inputs, searched by hypothesis."""

import contextlib
import csv
import itertools
import os
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from PIL import Image

from lit_vision.cli import main
from lit_vision.data import ImageFolderDataModule, ImageTableDataModule
from lit_vision.data.loader import BatchLoader
from lit_vision.errors import UserError
from lit_vision.parsing.arguments import find_configs
from lit_vision.utils.text import printable

settings.register_profile(
    "lit_vision",
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("lit_vision")

sizes = st.integers(1, 200)


def loader(size, batch_size, seed, rank=0, world_size=1):
    return BatchLoader(
        torch.zeros(size, 3, 1, 1, dtype=torch.uint8), torch.arange(size), batch_size, seed, rank, world_size
    )


@given(
    size=sizes,
    batch_size=st.integers(1, 70),
    world_size=st.integers(1, 5),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
)
def test_every_image_once_an_epoch_over_all_ranks(size, batch_size, world_size, seed, epoch):
    ranks = [loader(size, batch_size, seed, rank, world_size) for rank in range(world_size)]
    for part in ranks:
        part.sampler.set_epoch(epoch)
    batches = [list(part) for part in ranks]
    assert {len(part) for part in batches} == {len(ranks[0])}
    assert sorted(i for part in batches for batch in part for i in batch.index.tolist()) == list(range(size))
    for step in range(len(ranks[0])):
        counts = [len(part[step].index) for part in batches]
        weights = [part.loss_weight(step) for part in ranks]
        assert weights == pytest.approx([count * world_size / sum(counts) for count in counts])


@given(size=sizes, batch_size=st.integers(1, 70), stop=st.integers(0, 200), seed=st.none() | st.integers(0, 3))
def test_an_epoch_goes_on_anywhere(size, batch_size, stop, seed):
    first, whole = loader(size, batch_size, seed), [batch.index.tolist() for batch in loader(size, batch_size, seed)]
    done = [batch.index.tolist() for batch, _ in zip(first, range(min(stop, len(whole))), strict=False)]
    again = loader(size, batch_size, seed)
    again.load_state_dict({"epoch": 0, "batch": len(done), "batches": len(whole)})
    assert done + [batch.index.tolist() for batch in again] == whole


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name[0] != "." and len(name.encode()) < 100 and name.strip() == name and name not in ("val", "test")
)  # which would be taken for splits


@settings(max_examples=25)
@given(classes=st.dictionaries(names, st.integers(1, 3), min_size=2, max_size=4))
def test_folders_and_tables_of_any_names_give_the_same_images(classes, tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rows = []
    for number, (name, count) in enumerate(sorted(classes.items(), key=lambda item: printable(item[0]))):
        (root / name).mkdir()
        for shade in range(count):
            path = root / name / f"{shade}.png"
            Image.new("RGB", (4, 4), (number, shade, 0)).save(path)
            rows.append([path.relative_to(root), name])
    with (root / "images.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], *rows])
    options = {"root": root, "image_size": 4, "val_size": 1, "seed": 0, "batch_size": 100}
    found = []
    for data in (ImageFolderDataModule(**options), ImageTableDataModule(**options, table="images.csv")):
        data.setup("fit")
        found.append(
            [data.class_names, *(next(iter(part)) for part in (data.train_dataloader(), data.val_dataloader()))]
        )
    folder, table = found
    assert folder[0] == table[0] == sorted(map(printable, classes))
    for a, b in zip(folder[1:], table[1:], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        assert torch.equal(a.image[:, 0, 0, 0].long(), a.label)


@settings(max_examples=50)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_a_table_of_anything_is_read_or_refused_in_one_line(content, tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    (root / "images.csv").write_bytes(content)
    with contextlib.suppress(UserError):
        ImageTableDataModule(root=root, table="images.csv", image_size=4).setup("fit")


@given(
    configs=st.lists(st.sampled_from(["cifar.yaml", "shapes.yaml", "folder"]), max_size=3),
    options=st.lists(st.sampled_from(["--model.lr 1", "--data.batch_size=3", "--trainer.max_epochs 2"]), max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_configs_come_first_and_in_their_order_wherever_they_stand(configs, options, order):
    words = [f"--config {name}" for name in configs] + options
    mixed = list(words)
    order.shuffle(mixed)
    args, name = find_configs("fit", [word for words_ in mixed for word in words_.split()], "shapes.yaml")
    given_configs = [word.split()[1] for word in mixed if word.startswith("--config")]
    expected = given_configs or ["shapes.yaml"]
    places = [i for i, word in enumerate(args) if word == "--config"]
    assert places == list(range(0, 2 * len(expected), 2))
    assert [Path(args[i + 1]).stem for i in places] == [found.removesuffix(".yaml") for found in expected]
    assert name == expected[-1].removesuffix(".yaml")
    rest = [word for words_ in mixed if not words_.startswith("--config") for word in words_.split()]
    assert args[2 * len(expected) :] == rest


OPTIONS = {
    "model.lr": st.sampled_from([0.1, 0.2, 0.3]),
    "data.batch_size": st.integers(2, 9),
    "trainer.max_epochs": st.integers(3, 6),
}
given_options = st.fixed_dictionaries({}, optional=OPTIONS)


def write_config(path, options):
    config = {}
    for name, value in options.items():
        group, option = name.split(".")
        part = config.setdefault(group, {})
        (part if group == "trainer" else part.setdefault("init_args", {}))[option] = value
    path.write_text(yaml.safe_dump(config))


def run_fit(words):
    """The options of a fit's model, data and Trainer."""
    seen = {}

    def fit(self, model, datamodule, **kwargs):
        seen["model.lr"] = model.hparams.lr
        seen["data.batch_size"] = datamodule.batch_size
        seen["trainer.max_epochs"] = self.max_epochs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", fit)
        os.environ.pop("PL_GLOBAL_SEED", None)
        assert main(["fit", *words]) == 0
    return seen


@pytest.fixture
def checkpoint_of_a_run():
    """A checkpoint that remembers lr 0.4, of a run in batches of 10."""
    options = "--model.lr 0.4 --data.batch_size 10 --trainer.max_epochs 2 --data.train_size 40 --data.val_size 10"
    assert main(f"fit --config shapes.yaml --trainer.accelerator cpu {options}".split()) == 0
    return "lightning_logs/shapes/version_0/checkpoints/last.ckpt"


@pytest.mark.slow
@settings(max_examples=10)
@given(configs=st.lists(given_options, max_size=2), line=given_options, resumed=st.booleans())
def test_the_command_line_wins_over_later_over_earlier_configs_over_the_checkpoint(
    checkpoint_of_a_run, configs, line, resumed
):
    words = []
    for number, options in enumerate(configs):
        write_config(Path(f"{number}.yaml"), options)
        words += ["--config", f"{number}.yaml"]
    base = ["--config", "shapes.yaml"] if configs or not resumed else []
    words += itertools.chain.from_iterable((f"--{name}", str(value)) for name, value in line.items())
    words += ["--ckpt_path", checkpoint_of_a_run] if resumed else []
    remembered = {"model.lr": 0.4, "data.batch_size": 10, "trainer.max_epochs": 2}
    shipped = {"model.lr": 0.01, "data.batch_size": 32, "trainer.max_epochs": 12}
    expected = dict(shipped if base else remembered)
    for options in (*configs, line):
        expected |= options
    assert run_fit([*base, *words]) == expected
