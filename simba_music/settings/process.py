"""Process: what libraries read from the environment, and the environment of other processes."""

import os


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that is started here, with some variables changed."""
    return os.environ | changes


def openmp_threads() -> int | None:
    """Threads that the environment gives OpenMP, and with it PyTorch; None where it says none."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) or None if said.isdigit() else None


def announce_share(share: bool) -> None:
    """Say to every part of this process that the page is given a public address, if it is."""
    if share:
        os.environ["GRADIO_SHARE"] = "True"


def announce_host(host: str) -> None:
    """Say to every part of this process on which address the page is served."""
    os.environ["GRADIO_SERVER_NAME"] = host


def prepare_ray(token: str | None = None) -> None:
    """Say to Ray what it reads when it is imported: nothing of its use is reported to anyone.

    Args:
        token: a secret that the processes of a cluster begun here share, as it listens on every
            address of the machine and runs what it is sent; None where the cluster has its own.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if token is not None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


def prepare_libraries(threads: int | None = None) -> None:
    """Say to libraries what they read when they are imported; call it before torch and gradio.

    Args:
        threads: of OpenMP, which threads that are not ours inherit; None leaves it open. What the
            environment says already stays.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if threads is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
