"""Devices: which of them compute faster in bfloat16, and how long one has computed."""

import time

import torch


def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 is faster than float32 there: on GPUs, and on CPUs with AVX512-BF16."""
    return device != "cpu" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def compute_clock(device: str) -> float:
    """Seconds of compute: on a CPU its own time per thread, which other work cannot take."""
    if device.startswith("cuda"):
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()
