"""Building the kernels: compiled by a process of its own, kept in the data folder, loaded here."""

import hashlib
import logging
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import simba_music
from simba_music.errors import EngineError
from simba_music.settings import data_folder

logger = logging.getLogger(__name__)

LONGEST_S = 600.0  # of a build, on a machine that is very busy
_BUILD = "simba_music.generation.engines.kernels.build"


def numba_there() -> bool:
    """Whether numba can be imported."""
    try:
        import numba  # noqa: F401
    except Exception as error:  # a numba that does not fit this numpy raises its own
        logger.debug("numba: %s", error)
        return False
    return True


def vectors() -> bool:
    """Whether numba is there, and the processor has the vector instructions kernels need."""
    if not numba_there():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True  # ARM has had them always
    from llvmlite import binding

    return bool(binding.get_host_cpu_features().get("avx2"))


def folder_of_kernels() -> Path:
    """Where compiled kernels are kept, by their source and by numba's version.

    numba looks at the source of the function that Python calls, not of those that it calls in turn.
    """
    import numba

    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(Path(__file__).with_name("kernels").glob("*.py")):
        digest.update(file.read_bytes())
    return data_folder() / "kernels" / digest.hexdigest()[:16]


def mark_of(dtype: str) -> Path:
    """A file that says that kernels for weights in `dtype` are kept, for this processor."""
    from llvmlite import binding

    return folder_of_kernels() / f"{dtype}-{binding.get_host_cpu_name()}.built"


class Building:
    """The kernels of one kind of weights: absent, being compiled, or ready."""

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.kept = False  # whether an earlier run left them on disk
        self._mark: Path | None = None  # a file that says so; None where they cannot be had
        self._problem = "nobody has asked for its kernels"
        self._lock, self._thread = threading.Lock(), threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin, if nobody has."""
        with self._lock:
            if self._thread.ident is None:
                self._problem = "its kernels are still being compiled"
                if vectors():
                    self._mark = mark_of(self.dtype)
                    self.kept = self._mark.exists()
                self._thread.start()

    def wait(self) -> None:
        """Until they are ready.

        Raises:
            EngineError: If they cannot be had.
        """
        self.settle()
        if self._problem:
            raise EngineError(
                f"The engine compiled ({self.dtype}) cannot be had here: {self._problem}. "
                "Use --engine auto and --weights float32."
            )

    def settle(self) -> None:
        """Until they are ready, or it is known why they cannot be had."""
        self.start()
        self._thread.join()

    def problem(self) -> str:
        """Why they cannot be used now, in words; empty once they can."""
        return self._problem

    def _run(self) -> None:
        self._problem = self._made()
        if self._problem:
            logger.warning("The engine compiled is not used: %s.", self._problem)

    def _made(self) -> str:
        """Compile and load them; what went wrong, in words."""
        if self._mark is None:
            there = numba_there()
            missing = "the package numba is missing or does not load"
            return "this processor has no AVX2" if there else missing
        started = time.monotonic()
        try:
            if not self.kept:
                logger.info("Compiling the kernels for %s, once on this machine …", self.dtype)
                self._build(self._mark)
            self._load(self._mark.parent)
        except Exception as error:  # numba's errors have no other base; without kernels all works
            return f"its kernels could not be compiled ({error})"
        logger.info(
            "Kernels for %s are ready after %.1f s.", self.dtype, time.monotonic() - started
        )
        return ""

    def _build(self, mark: Path) -> None:
        """In another process: compiling holds the GIL, and this one has a page to serve."""
        mark.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", _BUILD, str(mark.parent), self.dtype]
        root = Path(simba_music.__file__).parents[1]  # so that it compiles this very source
        done = subprocess.run(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-300:] or f"exit status {done.returncode}")
        mark.touch()

    def _load(self, folder: Path) -> None:
        from simba_music.generation.engines.kernels.build import build, keep_in

        keep_in(str(folder))
        build(self.dtype)
