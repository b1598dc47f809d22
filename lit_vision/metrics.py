import torch
from torch import Tensor


class MetricSums:
    """Sums over the samples of an epoch, kept on the device so that no step waits for it."""

    def __init__(self) -> None:
        self.loss = torch.zeros((), dtype=torch.float64)
        self.correct = torch.zeros((), dtype=torch.int64)
        self.count = 0

    def add(self, loss: Tensor, logits: Tensor, label: Tensor) -> None:
        """Count one batch: loss the mean over its samples, logits (N, classes), label (N,)."""
        if self.loss.device != loss.device:
            self._to(loss.device)
        self.loss.add_(loss.detach(), alpha=len(label))
        self.correct.add_((logits.argmax(1) == label).sum())
        self.count += len(label)

    def _to(self, device: torch.device) -> None:
        # A float32 sum of 10,000 losses would drift in the fourth digit; Apple's GPUs have no float64.
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.loss = self.loss.to(device, wide)
        self.correct = self.correct.to(device)

    def sums(self) -> Tensor:
        """(3,): loss, number of right ones, number of samples."""
        return torch.stack([self.loss, self.correct.to(self.loss.dtype), self.loss.new_tensor(self.count)])

    def load(self, sums: Tensor) -> None:
        """Go on from what :meth:`sums` gave."""
        self.loss.copy_(sums[0])
        self.correct.copy_(sums[1])
        self.count = int(sums[2])
