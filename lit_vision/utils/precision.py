"""The fastest precision of a device."""

import torch

from lit_vision.utils.lightning_compat import cpu_multiplies_bfloat16


def has_fast_bfloat16(device: torch.device | str) -> bool:
    """Tell whether a device multiplies bfloat16 in hardware."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and cpu_multiplies_bfloat16()


def fastest_precision(accelerator: object) -> str:
    """Choose the Trainer's precision for a network that trains well in bfloat16.

    Args:
        accelerator: the Trainer's option of this name; anything but ``cpu`` means the accelerator of this machine.

    Returns:
        ``bf16-mixed`` if the device multiplies bfloat16 in hardware, else ``32-true``.
    """
    found = None if accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    return "bf16-mixed" if has_fast_bfloat16(found or "cpu") else "32-true"
