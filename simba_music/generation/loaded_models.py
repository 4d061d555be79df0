"""Loading: a model whole, models kept by use, loading in steps; and reading prompts without it."""

import functools
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from simba_music.conditioning.reading.prompt import Reading, read_prompt
from simba_music.conditioning.registry import KINDS
from simba_music.conditioning.request import Request
from simba_music.conditioning.types import AnyCondition
from simba_music.errors import CheckpointError, RequestError
from simba_music.files.texts import checked_text
from simba_music.generation.decoding import generate
from simba_music.generation.engines.choice import Engines
from simba_music.generation.engines.types import AnyEngine, SlottedEngine
from simba_music.generation.request import check_length
from simba_music.generation.streaming.scheduler import Scheduler
from simba_music.hub.fetch import Downloading, OnDownload, ignore
from simba_music.hub.places import CONFIG, locate
from simba_music.models.checkpoint import (
    Origin,
    check_encoder,
    codec_source,
    load_language_model,
    read_config,
)
from simba_music.models.codec import Codec
from simba_music.models.lm import MusicLM
from simba_music.models.text_encoder import TextEncoder, one_of, vocabulary
from simba_music.settings import settings

KEPT = 4  # two for each side
STALL_S = 60.0  # a download from which nothing arrives is given up
_GB = 1e9


@dataclass(frozen=True)
class LoadedModel:
    """A loaded checkpoint with all it needs, whole."""

    origin: Origin
    lm: MusicLM
    encoder: TextEncoder
    codec: Codec

    @classmethod
    def load(
        cls,
        source: str,
        device: str = "cpu",
        on_download: OnDownload = ignore,
        encoders: Sequence[TextEncoder] = (),
    ) -> "LoadedModel":
        """Load a language model, its text encoder and its codec; `on_download` follows downloads.

        If the text encoder is among `encoders`, which are loaded, it is shared.

        Raises:
            CheckpointError: If any of the three is missing or does not fit; nothing is kept.
        """
        lm, origin = load_language_model(source, device, on_download)
        config = lm.config
        if origin.revision is not None:
            check_encoder(origin, config)
        codec = Codec.load(codec_source(config, origin), config.codec, device, on_download)
        if config.n_codebooks > codec.n_codebooks:
            raise CheckpointError(
                f"{source} generates {config.n_codebooks} codebooks, and its codec "
                f"{config.codec.id} has {codec.n_codebooks}. Use the codec it was trained with."
            )
        encoder = one_of(encoders, config.text_encoder, device)
        encoder = encoder or TextEncoder.load(config.text_encoder, device, on_download)
        return cls(origin, lm, encoder, codec)

    @functools.cached_property
    def engines(self) -> Engines:
        """What can decode it."""
        return Engines(self.lm)

    @functools.cached_property
    def _schedulers(self) -> dict[tuple[str, str, int], Scheduler]:
        return {}

    def _scheduler(self, engine: AnyEngine, slots: int) -> Scheduler | None:
        """What steps requests together, one for an engine; None where each is on its own."""
        if not slots or not isinstance(engine, SlottedEngine):
            return None
        key = engine.name, engine.dtype, slots
        if key not in self._schedulers:
            self._schedulers.setdefault(key, Scheduler(engine, self.encoder, slots))
        return self._schedulers[key]

    def blocks(self, engine: AnyEngine, request: Request, slots: int) -> Iterator[Tensor]:
        """Codes `[1, K, n]` of a request, a few frames at a time.

        With `slots`, compiled and graph make them together with what others ask for.
        """
        scheduler = self._scheduler(engine, slots)
        if scheduler is not None:
            return scheduler.generate(request)
        return generate(engine, self.lm.config, self.encoder, [request])

    def codes(self, engine: AnyEngine, requests: Sequence[Request], slots: int) -> list[Tensor]:
        """Codes `[K, S]` of every request, S at least what it needs; made together."""
        # In a batch too, the codes of graph with slots are to be those of its slots.
        if engine.name != "graph" or self._scheduler(engine, slots) is None:
            blocks = generate(engine, self.lm.config, self.encoder, requests)
            return list(torch.cat(list(blocks), dim=-1))
        with ThreadPoolExecutor(len(requests)) as pool:
            own = pool.map(lambda r: list(self.blocks(engine, r, slots)), requests)
            return [torch.cat(blocks, dim=-1)[0] for blocks in own]

    @property
    def size(self) -> int:
        """Bytes of its parameters and buffers."""
        parts = (self.lm, *self.codec.networks, self.encoder.model)
        return sum(t.nbytes for part in parts for t in (*part.parameters(), *part.buffers()))


class Sized(Protocol):
    """Something loaded that knows its bytes."""

    @property
    def size(self) -> int:
        """Bytes in memory."""


Loaded = TypeVar("Loaded", bound=Sized)
Result = TypeVar("Result")


class ModelCache(Generic[Loaded]):
    """What was loaded last, at most `KEPT` of them and `SIMBA_MUSIC_MODEL_MEMORY_GB` in all.

    Dropping one only forgets it: whoever is using it keeps it until they are done.
    """

    def __init__(self, load: Callable[[str, OnDownload], Loaded]):
        self._load = load
        self._kept: OrderedDict[str, Loaded] = OrderedDict()
        self._lock = threading.Lock()
        # Forgotten once nobody waits: any name may be asked for, whether or not it loads.
        self._loading = WeakValueDictionary[str, threading.Lock]()

    def get(self, source: str, on_download: OnDownload) -> Loaded:
        """What `source` names, loaded once however many ask for it at a time."""
        with self._lock:
            # A lock a name: two who ask for one model wait for one download, others go on.
            mine = self._loading.setdefault(source, threading.Lock())
        with mine:
            with self._lock:
                if source in self._kept:
                    self._kept.move_to_end(source)
                    return self._kept[source]
            loaded = self._load(source, on_download)
            with self._lock:
                self._kept[source] = loaded
                self._shrink()
            return loaded

    def names(self) -> list[str]:
        """What is kept, least recently used first."""
        with self._lock:
            return list(self._kept)

    def _shrink(self) -> None:
        most = settings().model_memory_gb * _GB
        while len(self._kept) > 1 and (
            len(self._kept) > KEPT or sum(loaded.size for loaded in self._kept.values()) > most
        ):
            self._kept.popitem(last=False)


class _StoppedError(CheckpointError):
    """Raised inside a download whose user has gone."""


def in_steps(work: Callable[[OnDownload], Result]) -> Iterator[Downloading | Result]:
    """Run `work` in a thread; yield what it reports, and its result last.

    Closing the iterator makes the next `on_download` raise, which ends a download.

    Raises:
        CheckpointError: If a download stalls for `STALL_S`; and whatever `work` raises.
    """
    events: queue.Queue[Downloading | tuple[Result | None, BaseException | None]] = queue.Queue()
    stopped = threading.Event()

    def on_download(event: Downloading) -> None:
        if stopped.is_set():
            raise _StoppedError("The download was stopped; what has arrived is kept.")
        events.put(event)

    def run() -> None:
        try:
            events.put((work(on_download), None))
        except BaseException as error:
            events.put((None, error))

    # A thread, as a download reports through a callback, out of which no generator can yield.
    threading.Thread(target=run, daemon=True).start()
    last: Downloading | None = None
    try:
        while True:
            downloading = last is not None and last.done < last.total
            try:
                event = events.get(timeout=STALL_S if downloading else None)
            except queue.Empty:
                assert last is not None
                raise CheckpointError(
                    f"The download of {last.repository} has stood still at {last.done / 1e6:.0f} "
                    f"of {last.total / 1e6:.0f} MB for {STALL_S:.0f} s. Check the network and try "
                    "again; it goes on where it was."
                ) from None
            if isinstance(event, Downloading):
                last = event
                yield event
                continue
            result, error = event
            if error is not None:
                raise error
            assert result is not None
            yield result
            return
    finally:
        stopped.set()


def usable_device(device: str) -> str:
    """The device itself if it is there; of "auto", cuda, mps or cpu, the first that is.

    Raises:
        RequestError: If this machine, or this build of torch, lacks it.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name, found in there.items() if found), "cpu")
    kind, _, number = device.partition(":")
    beyond = kind == "cuda" and number.isdigit() and int(number) >= torch.cuda.device_count()
    if not there.get(kind, True) or beyond:
        raise RequestError(
            f"There is no device {device!r} for this torch ({torch.__version__}). Use --device "
            "auto or cpu, or install the torch of your accelerator."
        )
    return device


@dataclass(frozen=True)
class Reader:
    """Reads prompts as some models do: their conditions, and the words that their encoder knows."""

    models: Sequence[Mapping[str, AnyCondition]]
    knows: Callable[[str], bool]

    @classmethod
    def of_models(cls, models: Sequence[LoadedModel]) -> "Reader":
        """That of models that are loaded."""
        return cls([one.lm.config.conditions for one in models], models[0].encoder.knows)

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
        if isinstance(prompt, str):
            check_length("prompt", prompt)
        text = checked_text("prompt", prompt)
        if not isinstance(draw, bool) or isinstance(seed, bool) or not isinstance(seed, int):
            raise RequestError(f"seed must be a whole number and draw true or false, got {seed!r}.")
        return read_prompt(Request(text, seed=seed, draw=draw), self.models, self.knows)

    def parse(self, prompt: str) -> Reading:
        """What stands in a prompt, as if the models had every condition."""
        every = {name: kind for model in self.models for name, kind in model.items()}
        every |= {name: KINDS[name]() for name in ("beat", "key", "chords") if name not in every}
        return read_prompt(Request(prompt, draw=False), [every], self.knows)
