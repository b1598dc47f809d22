"""What made a checkpoint: versions, device, weights."""

import platform
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

_PACKAGES = ("lit-vision", "torch", "lightning", "torchvision", "timm")


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide how a run computes, and lit-vision's commit."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    repository = Path(__file__).resolve().parents[2]
    if (repository / "pyproject.toml").is_file() and (commit := commit_of(repository)):
        found["lit-vision"] = f"{found.get('lit-vision', '')} at commit {commit[:12]}".strip()
    return found


def commit_of(repository: Path) -> str | None:
    """The commit that a git repository has checked out; None outside of a repository."""
    git = repository / ".git"
    try:
        if git.is_file():  # a worktree, or a submodule
            git = repository / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        shared = git / "commondir"
        for folder in (git, git / shared.read_text().strip()) if shared.is_file() else (git,):
            if (folder / name).is_file():
                return (folder / name).read_text().strip()
            if (folder / "packed-refs").is_file():
                lines = (folder / "packed-refs").read_text().splitlines()
                if found := next((line.split()[0] for line in lines if line.endswith(f" {name}")), None):
                    return found
    except (OSError, UnicodeDecodeError):
        pass
    return None


def device_name(device: torch.device) -> str:
    """The name of a GPU, or the instructions of the CPU that torch uses, such as AVX2."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


def hash_of_network(network: nn.Module) -> str:
    """A hash of the layers, parameters and buffers of a network, 32 hexadecimal digits."""
    digest = blake2b(repr(network).encode(), digest_size=16)
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
