"""Pipeline of a command: what its options name, loaded behind a download bar."""

from typing import Any

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.pipeline import Pipeline
from simba_music.hub.fetch import Downloading, OnDownload
from simba_music.settings import EngineName, WeightDtype, settings


def _download_bar() -> OnDownload:
    """Draws a progress bar for every repository that downloads."""
    bars: dict[str, Any] = {}

    def draw(event: Downloading) -> None:
        if event.repository not in bars:
            bars[event.repository] = tqdm(
                desc=event.repository, total=event.total, unit="B", unit_scale=True, disable=None
            )
        bar = bars[event.repository]
        bar.update(event.done - bar.n)

    return draw


def load_pipeline(
    left: str,
    right: str,
    scorer: str,
    device: str,
    threads: int,
    engine: EngineName | None = None,
    weights: WeightDtype | None = None,
    slots: int | None = None,
) -> Pipeline:
    """The checkpoints and the scorer that `--left`, `--right` and `--scorer` name.

    Where engine, weights or slots are None, the settings say them.

    Raises:
        EngineError: If the engine cannot have such weights.
    """
    said = settings()
    together = said.slots if slots is None else slots
    choice = EngineChoice(engine or said.engine, weights or said.weights, together)
    disable_progress_bar()  # transformers' own, which says nothing of use
    judge = None if scorer == "none" else scorer
    return Pipeline.load(left, right, judge, device, threads, _download_bar(), choice)
