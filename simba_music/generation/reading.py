"""Reading: what checkpoints read from a prompt, without their weights; page, API and CLI ask it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simba_music.conditioning.reading.prompt import Reading, read_prompt
from simba_music.conditioning.registry import KINDS
from simba_music.conditioning.request import Request
from simba_music.conditioning.types import AnyCondition
from simba_music.errors import RequestError
from simba_music.hub.fetch import OnDownload, ignore
from simba_music.hub.places import CONFIG, locate
from simba_music.models.checkpoint import read_config
from simba_music.models.text_encoder import vocabulary


@dataclass(frozen=True)
class Reader:
    """Reads prompts as some models do: their conditions, and the words that their encoder knows."""

    models: Sequence[Mapping[str, AnyCondition]]
    knows: Callable[[str], bool]

    @classmethod
    def of_checkpoints(cls, sources: Sequence[str], on_download: OnDownload = ignore) -> "Reader":
        """That of checkpoints by their config.json alone.

        Raises:
            CheckpointError: If one cannot be found or read.
        """
        configs = [
            read_config(locate(source, on_download, (CONFIG,)).folder)[0]
            for source in dict.fromkeys(sources)
        ]
        known = vocabulary(configs[0].text_encoder, on_download)
        return cls([config.conditions for config in configs], known)

    def read(self, prompt: object, seed: object = 0, draw: object = True) -> Reading:
        """What is read from a prompt.

        Raises:
            RequestError: If it is no text, or seed and draw are none.
        """
        if not isinstance(prompt, str):
            raise RequestError(f"prompt must be text, got {type(prompt).__name__}.")
        if not isinstance(draw, bool) or isinstance(seed, bool) or not isinstance(seed, int):
            raise RequestError(f"seed must be a whole number and draw true or false, got {seed!r}.")
        text = prompt.encode("utf-8", "replace").decode().strip()
        return read_prompt(Request(text, seed=seed, draw=draw), self.models, self.knows)

    def parse(self, prompt: str) -> Reading:
        """What stands in a prompt, as if the models had every condition."""
        every = {name: kind for model in self.models for name, kind in model.items()}
        every |= {name: KINDS[name]() for name in ("beat", "key", "chords") if name not in every}
        return read_prompt(Request(prompt, draw=False), [every], self.knows)
