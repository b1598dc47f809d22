from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_EPSILON = 1e-7


class MuonSGD(torch.optim.Optimizer):
    """Muon for the filters of convolutions, SGD for all other parameters, both with momentum.

    An update of a convolution has singular values close to 1: it is the momentum, flattened to (filters, inputs) and
    orthogonalised. Before each update, the weights of a convolution are scaled to a norm of the root of the number of
    filters, so that the learning rate alone decides how far they turn; this takes the place of their weight decay.
    Networks with a norm after each convolution compute the same whatever the scale of its weights.

    After Keller Jordan, "94% on CIFAR-10 in 2.59 seconds" (cifar10-airbench, airbench94_muon), 2024, and Jordan et al.,
    "Muon: An optimizer for hidden layers in neural networks", 2024. timm's Muon and that of PyTorch scale no weights.

    Args:
        params: the parameters, or groups of them with their options. A group holds either only weights of convolutions,
            (filters, channels, height, width), or none.
        lr: learning rate.
        momentum: momentum, from 0.
        weight_decay: L2 penalty on the parameters that SGD trains.
        nesterov: use Nesterov momentum.
        iterations: Newton-Schulz iterations; more of them bring the singular values closer to 1.
        dtype: type in which they are computed: bfloat16 is enough where it is fast.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        iterations: int = 5,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})
        self._iterations, self._dtype = iterations, dtype

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            filters = [param for param in params if param.ndim == 4]
            rest = [param for param in params if param.ndim != 4]
            updates = self._orthogonalized([self._moved(param, param.grad, group) for param in filters])
            for param, update in zip(filters, updates, strict=True):
                param.mul_(len(param) ** 0.5 / param.norm().clamp_min(_EPSILON))
                param.add_(update, alpha=-group["lr"])
            for param in rest:
                gradient = param.grad.add(param, alpha=group["weight_decay"])
                param.add_(self._moved(param, gradient, group), alpha=-group["lr"])
        return loss

    def _moved(self, param: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient with momentum, as SGD computes it."""
        if not group["momentum"]:
            return gradient
        state = self.state[param]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(param)
        buffer: Tensor = state["momentum_buffer"]
        buffer.mul_(group["momentum"]).add_(gradient)
        return gradient.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer

    def _orthogonalized(self, updates: list[Tensor]) -> list[Tensor]:
        """Orthogonalise updates of convolutions, those of the same shape together."""
        matrices = [update.flatten(1).to(self._dtype) for update in updates]
        places: dict[torch.Size, list[int]] = {}
        for place, matrix in enumerate(matrices):
            places.setdefault(matrix.shape, []).append(place)
        found: dict[int, Tensor] = {}
        for alike in places.values():
            batch = orthogonalize(torch.stack([matrices[place] for place in alike]), self._iterations)
            found.update(zip(alike, batch, strict=True))
        return [found[place].to(update.dtype).view_as(update) for place, update in enumerate(updates)]


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Bring the singular values of matrices close to 1 (0.7 to 1.2 after five iterations), and keep their directions.

    The iteration is Newton-Schulz's with a polynomial of the fifth degree, which needs no decomposition. Source: Jordan
    et al., "Muon: An optimizer for hidden layers in neural networks", 2024.

    Args:
        matrices: (N, rows, columns), of a floating type, in which they are computed.
        iterations: number of iterations.

    Returns:
        (N, rows, columns); zeros stay zeros.
    """
    a, b, c = _COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(_EPSILON)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
