"""Which number format a device computes fastest in, and networks run in it."""

import torch


def fast_precision(device: torch.device) -> torch.dtype:
    """Choose the number format that a device computes fastest in.

    Parameters
    ----------
    device : torch.device
        A CPU or a GPU.

    Returns
    -------
    torch.dtype
        bfloat16 where there is hardware for it, float16 on older GPUs (T4), else float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def autocast(device: torch.device, volumes: bool = False) -> torch.autocast:
    """Make a context in which networks compute in the device's `fast_precision`.

    Parameters
    ----------
    device : torch.device
        Where the networks are.
    volumes : bool
        Whether their convolutions have three dimensions: these stay in float32 on a CPU, where they are slower in
        bfloat16 and some of their gradients are not finite.

    Returns
    -------
    torch.autocast
        The context; in float32 nothing is cast.
    """
    precision = torch.float32 if volumes and device.type == "cpu" else fast_precision(device)
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def best_device() -> torch.device:
    """Choose the first GPU, or the CPU where there is none.

    Returns
    -------
    torch.device
        The device.
    """
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
