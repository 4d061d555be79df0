"""Machine: its processor, caches and libraries in words; pinning to a core; memory in use."""

import ctypes
import gc
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from transformers.utils import logging

from simba_music.files import StrictModel
from simba_music.generation.streaming.threads import cores
from simba_music.training.record import core_facts, processor

Result = TypeVar("Result")

FLAGS = (  # of a processor, that kernels make use of
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
    "sve",
)
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
LIBRARIES = ("torch", "transformers", "numba", "numpy")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_MEMORY = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Machine(StrictModel):
    """What a benchmark ran on; `load` is the mean number of running processes before it began."""

    processor: str
    flags: tuple[str, ...]
    cores: int
    caches: dict[str, str]
    memory_gb: float
    system: str
    python: str
    libraries: dict[str, str]
    pinned: bool
    load: float

    @property
    def bfloat16(self) -> bool:
        """Whether the processor multiplies in bfloat16."""
        return not _BFLOAT16.isdisjoint(self.flags)


def _caches() -> dict[str, str]:
    """Size of each cache of a core, such as L2: 1024K, and what it shares it with."""
    found = dict[str, str]()
    for folder in sorted(_CACHES.glob("index*")):
        level, kind, size, cores = (
            (folder / name).read_text().strip()
            for name in ("level", "type", "size", "shared_cpu_list")
        )
        if kind != "Instruction":
            shared = f", shared by cores {cores}" if not cores.isdigit() else ""
            found[f"L{level}"] = size + shared
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Version of every library by its name."""
    return {name: _version(name) for name in names}


def _kilobytes(file: Path, name: str) -> int | None:
    """A line of a file of /proc in kB; None where there is no such file or line."""
    if not file.exists():
        return None
    lines = (line.split() for line in file.read_text().splitlines())
    return next((int(words[1]) for words in lines if words[:1] == [f"{name}:"]), None)


def this_machine() -> Machine:
    """The machine that this runs on."""
    facts, total = core_facts(), _kilobytes(_MEMORY, "MemTotal")
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return Machine(
        processor=processor(),
        flags=tuple(flag for flag in FLAGS if flag in flags),
        cores=len(cores()),
        caches=_caches(),
        memory_gb=round((total or 0) / 1e6, 1),
        system=platform.system(),
        python=platform.python_version(),
        libraries=installed(LIBRARIES),
        pinned=hasattr(os, "sched_setaffinity"),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
    )


@contextmanager
def pinned(count: int = 1) -> Iterator[None]:
    """Run on the last `count` cores, torch with one thread; where there is no pinning, anywhere."""
    before, threads = cores(), torch.get_num_threads()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(before)[-count:])
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, before)


def in_a_new_process(work: Callable[..., Result], *arguments: object) -> Result:
    """What `work` gives in a process that did nothing before; on the cores of this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def quiet() -> None:
    """No progress bars of loading, and no word of kernels that only a GPU has."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def free_mb() -> float:
    """Memory that can be had without swapping, MB; without end where nobody says."""
    found = _kilobytes(_MEMORY, "MemAvailable")
    return found / 1e3 if found is not None else float("inf")


def release() -> None:
    """Give memory that is no longer used back to the system, where its library can do that."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def resident_mb() -> float | None:
    """Memory of this process, MB; None where nobody says."""
    found = _kilobytes(_STATUS, "VmRSS")
    return found / 1e3 if found is not None else None


def forget_peak() -> None:
    """Begin `peak_mb` anew, where that is allowed.

    `resource.getrusage` will not do: a process that was started by a larger one begins with the
    peak of that one.
    """
    try:
        _RESET.write_text("5")
    except OSError:
        pass


def peak_mb() -> float | None:
    """Most memory of this process since `forget_peak`, MB; None where nobody says."""
    found = _kilobytes(_STATUS, "VmHWM")
    return found / 1e3 if found is not None else None
