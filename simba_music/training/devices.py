"""Devices: which of them compute faster in bfloat16."""

import torch


def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 is faster than float32 there: on GPUs, and on CPUs with AVX512-BF16."""
    return device != "cpu" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
