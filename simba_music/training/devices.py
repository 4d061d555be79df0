"""Devices: which there are for a name, and which of them compute faster in bfloat16."""

import torch


def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 is faster than float32 there: on GPUs, and on CPUs with AVX512-BF16."""
    return device != "cpu" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def devices_of(device: str) -> tuple[str, ...]:
    """Every device that a name stands for: `cuda` is all GPUs."""
    if device != "cuda":
        return (device,)
    return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())) or ("cuda",)
