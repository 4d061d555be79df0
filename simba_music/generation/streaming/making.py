"""Making: a side's clips, take by take or many at once; nearly empty ones are drawn again."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.conditioning.request import Request
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.decoding import frames_of
from simba_music.generation.engines.types import AnyEngine
from simba_music.generation.loaded_models import LoadedModel
from simba_music.generation.recipe import recipe_of
from simba_music.generation.service import Event
from simba_music.generation.streaming.growing import grown_blocks, keep
from simba_music.generation.streaming.redrawing import SILENT_S, draws, why_empty
from simba_music.generation.streaming.sound import SoundStream
from simba_music.scoring.score import Scorer


@dataclass(frozen=True)
class Making:
    """A side's model on the engine that decodes it, with all that its recipes say."""

    side: str
    name: str
    model: LoadedModel
    engine: AnyEngine
    slots: int
    device: str
    scorer: Scorer | None

    def take(
        self, take: int, request: Request, should_stop: Callable[[], bool], stream: bool
    ) -> Iterator[Event]:
        """One take as `GenerationService.generate` yields it.

        What is nearly empty is drawn again, with the next of the seed's draws: a whole clip before
        it is given, or, with `stream`, a take that is silent for `SILENT_S`, of which nothing was
        played.
        """
        for own, again in draws(request):
            clip = yield from self._draw(take, own, should_stop, stream, again)
            if clip is not None:
                yield clip
                return

    def _draw(
        self,
        take: int,
        request: Request,
        should_stop: Callable[[], bool],
        stream: bool,
        again: bool,
    ) -> Generator[Event, None, Clip | None]:
        """A draw and its clip; None if it is nearly empty and may be drawn `again`."""
        config, codec = self.model.lm.config, self.model.codec
        total, started = frames_of(config, request), time.monotonic()
        blocks, done = list[Tensor](), 0
        held_s = SILENT_S if again else 0.0
        sound = SoundStream(codec, self.side, take, config.n_codebooks, held_s)
        for block in grown_blocks(self.model, self.engine, request, self.slots):
            blocks.append(block)
            done += block.shape[-1]
            if stream:
                yield from sound.add(block)
            if should_stop():
                break
            if sound.silent:
                return None
            passed = time.monotonic() - started
            yield Progress(self.side, self.name, take, done, total, passed, request.subseed or 0)
        codes = torch.cat(blocks, dim=-1)
        if stream:
            yield from sound.end()
            if sound.silent and done == total:
                return None
            yield from sound.rest()
        raw = sound.whole() if stream else codec.decode(codes)[0]
        clip = self._finish(take, request, codes[0], raw, started)
        # What was heard stays.
        return None if again and not stream and self._is_empty(clip) else clip

    def _is_empty(self, clip: Clip) -> bool:
        """Whether a clip is nearly empty; one that was stopped is as its listener wanted it."""
        rate = self.model.codec.frame_rate
        why = why_empty(clip.waveform, clip.recipe.gain_db, clip.codes, rate)
        return bool(why) and not clip.stopped_early

    def _finish(
        self, take: int, request: Request, codes: Tensor, raw: Waveform, started: float
    ) -> Clip:
        """Codes `[K, S]` and what they sound like to a Clip."""
        model, done = self.model, codes.shape[-1]
        duration_s = min(request.duration_s, done / model.codec.frame_rate)
        wave, loudness_lufs, gain_db = audio.normalise(audio.fit(raw, duration_s))
        seconds = time.monotonic() - started
        score = self.scorer.score(wave, request.prompt) if self.scorer else None
        made = (score, self.device, loudness_lufs, gain_db, self.slots)
        recipe = recipe_of(model, self.engine, request, *made)
        early = done < frames_of(model.lm.config, request)
        if not early:
            keep(model, self.engine, request, self.slots, codes)
        return Clip(self.side, self.name, take, wave, codes, recipe, score, early, seconds)

    def batch(self, requests: Sequence[Request]) -> list[Clip]:
        """A clip a request, decoded together; nearly empty ones are drawn again, together too."""
        tried = [list(draws(request)) for request in requests]
        clips = self._together([own[0][0] for own in tried])
        for number in range(1, max(map(len, tried), default=0)):
            free = [i for i, own in enumerate(tried) if number < len(own)]
            empty = [i for i in free if self._is_empty(clips[i])]
            fresh = self._together([tried[i][number][0] for i in empty]) if empty else []
            for i, clip in zip(empty, fresh, strict=True):
                clips[i] = replace(clip, seconds=clip.seconds + clips[i].seconds)
        return clips

    def _together(self, requests: Sequence[Request]) -> list[Clip]:
        """The clips of these very draws."""
        started, clips = time.monotonic(), list[Clip]()
        codes = self.model.codes(self.engine, requests, self.slots)
        for row, request in zip(codes, requests, strict=True):
            own = row[:, : frames_of(self.model.lm.config, request)]
            clip = self._finish(0, request, own, self.model.codec.decode(own[None])[0], started)
            clips.append(replace(clip, seconds=(time.monotonic() - started) / len(requests)))
        return clips
