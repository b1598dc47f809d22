from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from math import ceil
from typing import Any

import torch
from torch import Tensor

from lit_vision.data.batch import Batch
from lit_vision.data.images import LazyImages
from lit_vision.data.rng import random_permutation
from lit_vision.errors import UserError

_AHEAD = 3  # batches being decoded while one is used


class EpochSampler:
    """The order of a split: drawn from (seed, epoch), or as it is without a seed.

    The Trainer calls ``set_epoch`` on the ``sampler`` of every loader at the start of every epoch.
    """

    def __init__(self, size: int, seed: int | None) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is given next."""
        self.epoch = epoch

    def tensor(self) -> Tensor:
        """The order as (size,) int64."""
        if self.seed is None:
            return torch.arange(self.size)
        return random_permutation(self.size, self.seed, "order", self.epoch)


class BatchLoader:
    """Whole batches out of memory, or decoded by threads ahead of their use.

    Each image comes once per epoch. A step's global batch has ``batch_size * world_size`` images, of which process
    ``rank`` yields every ``world_size``-th. ``state_dict`` holds how far an epoch is, so the Trainer resumes within it.

    Args:
        images: (N, 3, H, W) uint8, or what decodes them when they are asked for.
        labels: (N,) int64.
        batch_size: images per batch and process; the last batch of an epoch may be smaller.
        seed: of the shuffle; None keeps the order.
        rank: this process' number.
        world_size: the number of processes.
        num_workers: threads that decode where ``images`` is no tensor.
        device: to which images in memory are copied once, so that their batches are made there.
    """

    batch_sampler = None  # as a DataLoader with a sampler; the Trainer looks at both

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
    ) -> None:
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.sampler = EpochSampler(len(labels), seed)
        self.rank = rank
        self.world_size = world_size
        self.num_workers = num_workers
        self.device = torch.device(device)
        self.bank: Tensor | None = None
        """(N, width) float32: what batches get in the place of images, once a model has computed their features."""
        self._resume: dict[str, int] = {}
        self._yielded = 0
        self._resident: tuple[Tensor, Tensor, Tensor] | None = None  # what was copied, and images and labels there

    def __len__(self) -> int:
        return ceil(len(self.labels) / (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that the order is drawn at the first batch: the Trainer makes the iterator before it
        # announces the epoch.
        resume, self._resume = self._resume, {}
        start = resume.get("batch", 0) if resume.get("epoch") == self.sampler.epoch else 0
        order = self.sampler.tensor()
        if self.bank is not None or isinstance(self.images, Tensor):
            order = order.to(self.device)
        steps = order.split(self.batch_size * self.world_size)[start:]
        self._yielded = start
        for batch in self._load(step[self.rank :: self.world_size] for step in steps):
            self._yielded += 1
            yield batch

    def weight(self, batch: int) -> float:
        """What the mean over this process' part of a step's images counts in the mean over the means of all processes.

        It is 1 but for an epoch's last step, which may have more images for one process than for another.
        """
        step = self.batch_size * self.world_size
        size = min(step, len(self.labels) - batch * step)
        return len(range(self.rank, size, self.world_size)) * self.world_size / size

    def sequential(self, batch_size: int) -> "BatchLoader":
        """The images once, unshuffled."""
        return BatchLoader(
            self.images, self.labels, batch_size, None, self.rank, self.world_size, num_workers=self.num_workers
        )

    def take(self, index: Tensor) -> Batch:
        """These images, (n,) int64, whatever the order of the epoch; never their features."""
        images = self.images
        if isinstance(images, Tensor):
            return Batch(images[index], self.labels[index], index)
        return Batch(torch.stack([images[i] for i in index.tolist()]), self.labels[index], index)

    def state_dict(self) -> dict[str, Any]:
        """Where in which epoch the loader stands."""
        return {"epoch": self.sampler.epoch, "batch": self._yielded, "batches": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there, the next time that this epoch is asked for.

        Raises:
            UserError: the state is from the middle of an epoch of other batches.
        """
        if 0 < state["batch"] < state["batches"] != len(self):
            raise UserError(
                f"the checkpoint is from the middle of an epoch of {state['batches']} batches, which cannot go on with "
                f"{len(self)}: resume with the same data and batch_size, or from a whole epoch (--ckpt_path best)"
            )
        self._resume = state

    def _load(self, indices: Iterator[Tensor]) -> Iterator[Batch]:
        images = self.images if self.bank is None else self.bank
        if isinstance(images, Tensor):
            if self._resident is None or self._resident[0] is not images:
                self._resident = images, images.to(self.device), self.labels.to(self.device)
            _, images, labels = self._resident
            for index in indices:
                yield Batch(images.index_select(0, index), labels[index], index)
            return
        pool = ThreadPoolExecutor(self.num_workers)
        ahead: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()
        try:
            while True:
                for index in islice(indices, _AHEAD - len(ahead)):
                    ahead.append((index, [pool.submit(images.__getitem__, i) for i in index.tolist()]))
                if not ahead:
                    return
                index, decoding = ahead.popleft()
                yield Batch(torch.stack([image.result() for image in decoding]), self.labels[index], index)
        finally:
            pool.shutdown(cancel_futures=True)
