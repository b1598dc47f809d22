"""BatchNorms with frozen statistics, computed as a part of the convolutions before them."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from typing_extensions import override


def fold_batch_norms(network: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Make a faster forward pass for training a network whose BatchNorms are in eval mode.

    With its statistics frozen, a BatchNorm is a linear map of each channel, which the weights of the convolution before
    it can take over. They are computed anew in each pass, so that the gradients of both layers stay as they were, up to
    rounding. A step of MobileNetV2 takes 0.6 to 0.8 of its time on two CPU cores.

    Args:
        network: the network, in eval mode; it stays as it is, and the result uses its parameters.

    Returns:
        The forward pass; None if the code of the network cannot be traced, or there is nothing to fold.
    """
    folded = _fold(network, _ConvNorm)
    return None if folded is None else folded.forward


def fold_for_inference(network: nn.Module) -> nn.Module:
    """Make a faster copy of a network in eval mode, whose convolutions have the weights of the BatchNorms behind them.

    Args:
        network: the network, which stays as it is.

    Returns:
        The copy, frozen; it computes the same up to rounding. What cannot be folded is copied as it is.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    return _fold(network, fuse_conv_bn_eval) or network


def _fold(network: nn.Module, join: Callable[[nn.Conv2d, nn.BatchNorm2d], nn.Module]) -> fx.GraphModule | None:
    try:
        traced = fx.symbolic_trace(network)
    except Exception:  # a forward pass may branch on what it computes, or do anything else that cannot be recorded
        return None
    modules = dict(traced.named_modules())
    folded = False
    for node in list(traced.graph.nodes):
        norm, before = _module(node, modules), node.args[0] if node.args else None
        if type(norm) is not nn.BatchNorm2d or norm.running_var is None or not isinstance(before, fx.Node):
            continue
        conv = _module(before, modules)
        if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or len(before.users) > 1:
            continue
        traced.add_submodule(name := f"folded_{node.name}", join(conv, norm))
        with traced.graph.inserting_after(before):
            node.replace_all_uses_with(traced.graph.call_module(name, before.args))
        traced.graph.erase_node(node)
        traced.graph.erase_node(before)
        folded = True
    traced.recompile()
    return traced if folded else None


class _ConvNorm(nn.Module):
    """A convolution and the BatchNorm behind it."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    @override
    def forward(self, image: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        if norm.weight.requires_grad and not conv.weight.requires_grad:
            return norm(conv(image))  # otherwise, the gradient of the frozen weights would have to be computed
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
        weight, bias = conv.weight * scale[:, None, None, None], norm.bias - shift * scale
        return F.conv2d(image, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _module(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules[str(node.target)] if node.op == "call_module" else None
