"""Pipeline: the service that generates here, with the models of both sides and a scorer."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from simba_music.audio import Waveform
from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.generation.clip import Clip
from simba_music.generation.engines.choice import EngineChoice, now, prepare
from simba_music.generation.loaded_models import LoadedModel, ModelCache, in_steps, usable_device
from simba_music.generation.request import MAX_SEED, SIDES, Limits, validate_request
from simba_music.generation.service import Asked, Event, asked_of, never
from simba_music.generation.streaming.making import Making
from simba_music.generation.streaming.threads import interleaved, usable_cores
from simba_music.generation.streaming.watch import watched
from simba_music.hub.fetch import Downloading, OnDownload, ignore
from simba_music.hub.places import chosen_by_visitor
from simba_music.scoring.loading import load_scorer
from simba_music.scoring.score import Scorer
from simba_music.settings import EngineName, settings

WARM_UP_S = 0.2  # of sound
logger = logging.getLogger(__name__)


class Pipeline:
    """Models of two sides and a scorer: the local `GenerationService`, for many at once."""

    def __init__(
        self,
        models: dict[str, LoadedModel],
        scorer: Scorer | None,
        device: str = "cpu",
        cache: ModelCache[LoadedModel] | None = None,
        choice: EngineChoice | None = None,
    ):
        self.models, self.scorer, self.device = models, scorer, device
        self.choice = choice or EngineChoice.of_settings()
        self.cache = cache or ModelCache(self._load_chosen)

    def _load_chosen(self, source: str, on_download: OnDownload) -> LoadedModel:
        with chosen_by_visitor(source):
            return LoadedModel.load(source, self.device, on_download)

    @classmethod
    def load(
        cls,
        left: str = "simba",
        right: str = "transformer",
        scorer: str | None = "clap",
        device: str = "auto",
        threads: int = 1,
        on_download: OnDownload = ignore,
        choice: EngineChoice | None = None,
    ) -> "Pipeline":
        """Load both sides and the scorer.

        Args:
            left: checkpoint of the left side: a folder, a bundled name or `org/name@revision`.
            right: that of the right side.
            scorer: scorer checkpoint, or None for no scores.
            device: cpu, cuda, mps, or auto for the best there is.
            threads: CPU threads of each side; one decodes fastest on a shared machine.
            on_download: called while something downloads.
            choice: what decodes, the same for both sides; None is what the settings say.

        Raises:
            CheckpointError: If anything is missing or does not fit.
            EngineError: If the engine that was asked for cannot be had.
        """
        torch.set_num_threads(threads)
        device = usable_device(device)
        choice = choice or EngineChoice.of_settings()
        logger.info("Loading %s", left)
        first = second = LoadedModel.load(left, device, on_download)
        encoders = [first.encoder]
        if right != left:
            logger.info("Loading %s", right)
            second = LoadedModel.load(right, device, on_download, encoders)
        if scorer:
            logger.info("Loading the scorer %s", scorer)
        judge = load_scorer(scorer, on_download, encoders) if scorer else None
        # Last, since compiling would take half of the time of what else there is to load.
        prepare(choice, device)
        found = cls({"left": first, "right": second}, judge, device, choice=choice)
        if not settings().zero_gpu:  # there the GPU is another process's, which makes its own
            found.engine_now()
        return found

    def warm_up(self, generate: bool = True) -> None:
        """Do once, on a moment of sound, what the first clip would else wait for.

        Without `generate` only the scorer, for models that run in another process.
        """
        if generate:
            for _ in self.generate(Request("calm piano", duration_s=WARM_UP_S, subseed=0)):
                pass
        if self.scorer:
            noise = 0.1 * torch.randn(1, self.scorer.sample_rate, generator=torch.Generator())
            self.scorer.score(Waveform(noise, self.scorer.sample_rate), "calm piano")

    def with_models(self, left: str, right: str, on_download: OnDownload = ignore) -> "Pipeline":
        """This pipeline with other checkpoints in its sides; what is loaded already is shared.

        Whoever uses this pipeline, or another made from it, keeps the models that they have.

        Args:
            left: checkpoint of the left side.
            right: that of the right side.
            on_download: called while one downloads; what it raises ends the loading.

        Raises:
            CheckpointError: If one cannot be loaded; this pipeline stays as it is.
        """
        own = {model.origin.id: model for model in self.models.values()}
        named = dict(zip(SIDES, (left, right), strict=True))
        chosen = {s: own.get(at) or self.cache.get(at, on_download) for s, at in named.items()}
        return Pipeline(chosen, self.scorer, self.device, self.cache, self.choice)

    def on_engine(self, name: EngineName) -> "Pipeline":
        """This pipeline with another engine; `auto` is what it was loaded with."""
        choice = self.choice if name == "auto" else replace(self.choice, name=name)
        return Pipeline(self.models, self.scorer, self.device, self.cache, choice)

    def switching(self, left: str, right: str) -> "Iterator[Downloading | Pipeline]":
        """`with_models` in steps: progress while something downloads, then the pipeline.

        Closing the iterator ends the download; what has arrived is kept for the next time.

        Raises:
            CheckpointError: As `with_models`, or if nothing arrives for `STALL_S`.
        """
        yield from in_steps(lambda on_download: self.with_models(left, right, on_download))

    def engine_now(self, sides: Sequence[str] = SIDES) -> EngineName:
        """The engine that these sides decode on, from now until the end of their clips.

        Raises:
            EngineError: If the one that was asked for cannot be had.
        """
        return now([self.models[side].engines for side in sides], self.choice)

    def limits(self, sides: Sequence[str] = SIDES) -> Limits:
        """What all of these sides allow."""
        chosen = [self.models[s] for s in sides]
        return Limits(
            max_duration_s=min(s.lm.config.max_trained_s for s in chosen),
            max_text_tokens=min(s.encoder.ref.max_tokens for s in chosen),
            count_tokens=lambda text: max(s.encoder.count_tokens(text) for s in chosen),
        )

    def names(self) -> dict[str, str]:
        """Display name of each side; the side is added where both hold the same checkpoint."""
        found = {side: loaded.origin.name for side, loaded in self.models.items()}
        if len(set(found.values())) < len(found):
            return {side: f"{name}-{side}" for side, name in found.items()}
        return found

    def digests(self) -> dict[str, str]:
        """sha256 of each side's weights by its display name."""
        return {name: self.models[side].origin.sha256 for side, name in self.names().items()}

    def weights(self) -> dict[str, str]:
        """Digests of all weights in use by name: models, codecs and scorer."""
        left, right = (self.models[side].lm.config.codec.weights for side in SIDES)
        judge = {"scorer": self.scorer.revision} if self.scorer else {}
        return left | right | self.digests() | judge

    def choose(self, model: str) -> tuple[str, ...]:
        """Sides meant by "left", "right", "both" or a checkpoint's name.

        Raises:
            RequestError: If no side has that name.
        """
        if model == "both":
            return SIDES
        names = self.names()
        found = tuple(s for s in SIDES if model in (s, names[s], self.models[s].origin.name))
        if not found:
            known = ", ".join(["left", "right", "both", *names.values()])
            raise RequestError(f"Unknown model {model!r}. Choose one of: {known}.")
        return found

    def validate(self, sides: Sequence[str] = SIDES, **raw: object) -> Request:
        """See `GenerationService`."""
        return validate_request(self.limits(sides), **raw)

    def generate(
        self,
        request: Asked,
        sides: Sequence[str] = SIDES,
        should_stop: Callable[[], bool] = never,
        stream: bool = False,
    ) -> Iterator[Event]:
        """See `GenerationService`."""
        name, each, part = self.engine_now(sides), asked_of(request, sides), functools.partial
        rest = (should_stop, stream)
        begin = [part(watched, part(self._side, s, name, each[s], *rest)) for s in sides]
        in_turn = (event for one in begin for event in one())
        yield from interleaved(begin) if self.at_once(sides) else in_turn

    def at_once(self, sides: Sequence[str] = SIDES) -> bool:
        """Whether these sides are generated at the same time; else one after the other.

        Each then has a thread, with as many cores as it has threads of torch.
        """
        free = len(sides) > 1 and self.device == "cpu" and settings().at_once
        return free and usable_cores() >= len(sides) * torch.get_num_threads()

    def _side(
        self,
        side: str,
        name: EngineName,
        request: Request,
        should_stop: Callable[[], bool],
        stream: bool,
    ) -> Iterator[Event]:
        making = self._making(side, name)
        for take in range(request.takes):
            if should_stop():
                return
            seed = (request.seed + take) % (MAX_SEED + 1)
            own = replace(request, seed=seed, takes=1)
            yield from making.take(take, own, should_stop, stream)

    def _making(self, side: str, engine: EngineName) -> Making:
        model, name = self.models[side], self.names()[side]
        found = model.engines.get(engine, self.choice.dtype)
        slots = self.choice.slots_of(found)
        return Making(side, name, model, found, slots, self.device, self.scorer)

    def generate_batch(self, requests: Sequence[Request], side: str) -> list[Clip]:
        """See `GenerationService`; `seconds` of a clip is its share."""
        return self._making(side, self.engine_now()).batch(requests)
