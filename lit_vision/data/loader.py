from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from math import ceil
from typing import Any

import torch
from torch import Tensor

from lit_vision.data.balance import repetitions
from lit_vision.data.batch import Batch, DrawnBatch, FeatureBatch
from lit_vision.data.cached_rows import CachedRows
from lit_vision.data.decode_ahead import decode_ahead
from lit_vision.data.image_ids import tensor_ids
from lit_vision.data.images import LazyImages
from lit_vision.data.kept_images import KeptImages
from lit_vision.data.sampler import EpochSampler
from lit_vision.errors import UserError
from lit_vision.utils.log import log_info

_WORDS = {
    "images": "of {} images",
    "global_batch_size": "in batches of {}",
    "batches": "of {} batches",
    "seed": "in the order of seed {}",
    "balance": "with balance {}",
}
"""How messages name what the batches of an epoch depend on."""

_AHEAD = 3  # batches that are decoded while one is used
_EVAL_VALUES = 2**21  # float32 values of an evaluation batch: 8 MB fit into caches, and are as fast as more


class BatchLoader:
    """Yields batches from memory, or prefetches and decodes them in threads.

    Each image comes once per epoch. A step's global batch has ``batch_size * world_size`` images, unless its size is
    given; process ``rank`` yields every ``world_size``-th of them.

    The Trainer takes this in place of a ``DataLoader``, and relies on three things: at the start of every epoch, it
    calls ``sampler.set_epoch(epoch)``, which must also apply to an iterator made before the call; it reads
    ``batch_sampler``, where None means that ``sampler`` decides the order; and it saves ``state_dict`` in checkpoints
    and restores it with ``load_state_dict``, so that a run resumes within an epoch.

    Args:
        images: (N, 3, H, W) uint8, or an object that decodes them when they are asked for, at most once if they are
            kept.
        labels: (N,) int64.
        batch_size: images per batch and process; the last batch of an epoch may be smaller.
        seed: seed of the shuffle; None keeps the order.
        rank: index of this process, from 0.
        world_size: number of processes.
        num_workers: number of threads that decode, if ``images`` is not a tensor.
        device: the device on which batches of images in memory are made; the images are copied to it once.
        balance: draw all classes equally often; an epoch has as many images as without, but some more than once.
        pairs: give each image a partner to be mixed with, the next one in the order of the epoch.
        chosen: (n,) int64, positions of the images to be limited to, without a seed.
        global_batch_size: images per step of all processes together, in place of ``batch_size``. The steps then depend
            on the number of processes only in the order in which they add up.
    """

    batch_sampler = None

    def __init__(
        self,
        images: Tensor | LazyImages,
        labels: Tensor,
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 1,
        device: torch.device | str = "cpu",
        balance: bool = False,
        pairs: bool = False,
        chosen: Tensor | None = None,
        global_batch_size: int | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.global_batch_size = global_batch_size or batch_size * world_size
        self.sampler = EpochSampler(labels, seed, balance, chosen)
        self.rank = rank
        self.world_size = world_size
        self.pairs = pairs
        self.num_workers = num_workers
        self.device = torch.device(device)
        self._features: Tensor | None = None
        self._resume: dict[str, int] = {}
        self._yielded = 0
        # The tensor that was copied to the device, with the copies of it and of the labels.
        self._resident: tuple[Tensor | CachedRows, Tensor | CachedRows, Tensor] | None = None

    def __len__(self) -> int:
        return ceil(self.sampler.size / self.global_batch_size)

    def __iter__(self) -> Iterator[Batch | DrawnBatch | FeatureBatch]:
        # A generator, so that the order is drawn at the first batch: the Trainer makes the iterator before it
        # announces the epoch.
        resume, self._resume = self._resume, {}
        start = resume.get("batch", 0) if resume.get("epoch") == self.sampler.epoch else 0
        order = self.sampler.tensor()
        if self._features is not None or self._rows() is not None:
            order = order.to(self.device)
        steps = self._steps(order)[start:]
        drawn = (self.pairs or self.sampler.balance) and self._features is None
        repeats = self._steps(repetitions(order))[start:] if drawn else []
        self._yielded = start
        for number, batch in enumerate(self._load(steps)):
            self._yielded += 1
            yield self._drawn(batch, repeats[number]) if isinstance(batch, Batch) and drawn else batch

    def _drawn(self, batch: Batch, repetition: Tensor) -> DrawnBatch:
        device = batch.index.device
        partner = self._partners(len(batch.label)).to(device) if self.pairs else None
        return DrawnBatch(*batch, repetition.to(device), partner)

    def _steps(self, values: Tensor) -> list[Tensor]:
        """Divide a value for each place of the order into this process' part of each step, with those of partners."""
        size = self.global_batch_size
        own, following = ([s[self.rank :: self.world_size] for s in v.split(size)] for v in (values, values.roll(-1)))
        if not self.pairs or self._features is not None:
            return own
        last = -1 if self.world_size == 1 else 0  # a single process has all partners but one already
        return [torch.cat([part, partners[last:]]) for part, partners in zip(own, following, strict=True)]

    def _partners(self, count: int) -> Tensor:
        """The positions of the partners in a batch of ``count`` images, which :meth:`_steps` has put there."""
        return torch.arange(1, count) if self.world_size == 1 else torch.arange(count // 2, count)

    @property
    def features(self) -> Tensor | None:
        """(N, width) float32 that batches carry in place of images; None while they carry images."""
        return self._features

    def serve(self, features: Tensor | None) -> None:
        """Yield batches of these features, (N, width) float32, from the next iterator on; with None, images again."""
        self._features = features

    def loss_weight(self, batch_idx: int) -> float:
        """Return the weight of this rank's mean loss, so that DDP's average over ranks equals the mean over images.

        It is 1 except in an epoch's last step, where ranks may have different numbers of images.
        """
        step = self.global_batch_size
        size = min(step, len(self.labels) - batch_idx * step)
        return len(range(self.rank, size, self.world_size)) * self.world_size / size

    def sequential(self, batch_size: int, chosen: Tensor) -> "BatchLoader":
        """Make a loader of the images at these positions, in this order, in batches of another size.

        It never serves features.
        """
        place = (None, self.rank, self.world_size, self.num_workers)
        return BatchLoader(self.images, self.labels, batch_size, *place, chosen=chosen)

    def ids(self) -> list[bytes]:
        """A name for each image by what it holds, see :mod:`lit_vision.data.image_ids`."""
        return tensor_ids(self.images) if isinstance(self.images, Tensor) else self.images.ids()

    def take(self, index: Tensor) -> Batch:
        """Return the images at these positions, (n,) int64, as a batch on the CPU, even while features are served."""
        if isinstance(self.images, Tensor):
            return Batch(self.images[index], self.labels[index], index)
        images = (self.images[i] for i in index.tolist())
        return Batch(_stack(images, len(index), self.images.image_size), self.labels[index], index)

    def first_images(self, count: int) -> Batch | DrawnBatch:
        """Return the first ``count`` images of the epoch on the CPU, as the loader yields images."""
        order = self.sampler.tensor()
        places = torch.arange(min(count + self.pairs, len(order)))
        batch = self.take(order[places])
        if not self.pairs and not self.sampler.balance:
            return batch
        return DrawnBatch(*batch, repetitions(order)[places], torch.arange(1, len(places)) if self.pairs else None)

    @property
    def _order(self) -> dict[str, int | None]:
        """What the batches of an epoch depend on."""
        step, sampler = self.global_batch_size, self.sampler
        order = {"images": sampler.size, "global_batch_size": step, "batches": len(self), "seed": sampler.seed}
        return {**order, "balance": sampler.balance}

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, the number of its batches that were yielded, and what its batches depend on."""
        place = {"epoch": self.sampler.epoch, "batch": self._yielded, "processes": self.world_size}
        return {**place, **self._order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the batches that were yielded, the next time that this epoch is iterated.

        Raises:
            UserError: the state is from the middle of an epoch that had other batches.
        """
        if 0 < state["batch"] < state["batches"]:
            for name, ours in self._order.items():
                if state.get(name, ours) != ours:
                    raise UserError(
                        f"the checkpoint is from the middle of an epoch {_WORDS[name].format(state[name])}, which "
                        f"cannot continue with {ours}: resume with the same data, seed and batch size (in other "
                        "processes, --data.global_batch_size), or from a whole epoch (--ckpt_path best)"
                    )
        if (before := state.get("processes", self.world_size)) != self.world_size:
            log_info(
                f"the checkpoint was trained by {before} {'process' if before == 1 else 'processes'}, not "
                f"{self.world_size}: last digits may differ, and more of them with BatchNorm"
            )
        self._resume = state

    def _load(self, indices: list[Tensor]) -> Iterator[Batch | FeatureBatch]:
        if self._features is not None:
            features, labels = self._on_device(self._features)
            for index in indices:
                yield FeatureBatch(features.index_select(0, index), labels[index], index)
        elif (rows := self._rows()) is not None:
            images, labels = self._on_device(rows)
            for index in indices:
                yield Batch(images.index_select(0, index), labels[index], index)
        elif isinstance(self.images, LazyImages):
            yield from self._decode(self.images, indices)

    def _rows(self) -> Tensor | CachedRows | None:
        """The images if they are in memory or in files of the cache; the first call may decode them."""
        if isinstance(self.images, KeptImages):
            return self.images.rows()
        return self.images if isinstance(self.images, Tensor) else None

    def _on_device(self, data: Tensor | CachedRows) -> tuple[Tensor | CachedRows, Tensor]:
        """Return images or features, and the labels, on the device; they are copied once."""
        if self._resident is None or self._resident[0] is not data:
            self._resident = data, data.to(self.device), self.labels.to(self.device)
        return self._resident[1:]

    def _decode(self, images: LazyImages, indices: list[Tensor]) -> Iterator[Batch]:
        order = chain.from_iterable(index.tolist() for index in indices)
        ahead = _AHEAD * ceil(self.global_batch_size / self.world_size)
        with closing(decode_ahead(images.__getitem__, order, self.num_workers, ahead, overlap=True)) as decoded:
            for index in indices:
                yield Batch(_stack(decoded, len(index), images.image_size), self.labels[index], index)


def evaluation_batch_size(batch_size: int, image_size: int) -> int:
    """The batch size for evaluation: at least the training batch size, and large enough to be fast."""
    return max(batch_size, _EVAL_VALUES // (3 * image_size**2))


def _stack(images: Iterator[Tensor], count: int, side: int) -> Tensor:
    """Stack the next images into (count, 3, side, side); a rank may have none in an epoch's last step."""
    return torch.stack(list(islice(images, count))) if count else torch.empty(0, 3, side, side, dtype=torch.uint8)
