"""Devices: how fast one can be, and how long it has computed."""

import time

import torch

# Dense bfloat16 products a second by the vendors' data sheets (float16 where there is no bfloat16),
# by what torch calls the card.
_PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "T4": 65e12,
}


def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 is faster than float32 there: on GPUs, and on CPUs with AVX512-BF16."""
    return device != "cpu" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def compute_clock(device: str) -> float:
    """Seconds of compute: on a CPU its own time per thread, which other work cannot take."""
    if device.startswith("cuda"):
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def peak_flops(device: str) -> float | None:
    """Dense bfloat16 products a second by the data sheet; None for a card that is not known."""
    if not device.startswith("cuda"):
        return None
    card = torch.cuda.get_device_name(device)
    return next((flops for name, flops in _PEAK_FLOPS.items() if name in card), None)


def devices_of(device: str) -> tuple[str, ...]:
    """Every device that a name stands for: `cuda` is all GPUs."""
    if device != "cuda":
        return (device,)
    return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())) or ("cuda",)
