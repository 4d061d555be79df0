"""Decoding: requests to codes, block by block, on any engine."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from simba_music.conditioning.batch import ConditionBatch, of_requests, texts_of
from simba_music.conditioning.request import Request
from simba_music.conditioning.types import TextEmbedding
from simba_music.generation.engines.types import Engine, State
from simba_music.generation.sampling import Sampling, draw_noise, generator_of
from simba_music.models.codebook_pattern import pattern
from simba_music.models.config import LMConfig
from simba_music.models.text_encoder import TextEncoder

BLOCK = 10  # steps that are sampled before the caller gets their codes
PLANE_S = 2.0  # of conditions that are computed at a time, where a step is a frame


def read_requests(
    config: LMConfig,
    encoder: TextEncoder,
    requests: Sequence[Request],
    device: torch.device | str = "cpu",
) -> ConditionBatch:
    """Conditions of requests for a model; with guidance, the unconditional branch follows."""
    guided = Sampling.of(requests).guided
    texts = texts_of(config.conditions, requests, guided)
    # The branch without a prompt has no states of its own; any text keeps its place.
    states = encoder.encode([text or request.prompt for text, request in _paired(texts, requests)])
    null = torch.tensor([text is None for text in texts], device=device)
    text = TextEmbedding(*(t.to(device) for t in states))
    return of_requests(config.conditions, requests, guided, text, null)


def _paired(
    texts: Sequence[str | None], requests: Sequence[Request]
) -> Iterator[tuple[str | None, Request]]:
    """Every text with its request; there is one text per request, or two with guidance."""
    return ((text, requests[i % len(requests)]) for i, text in enumerate(texts))


def frames_of(config: LMConfig, request: Request) -> int:
    """Frames that a request needs."""
    return config.codec.frames(request.duration_s)


class CodeBuffer:
    """Tokens as they come, step by step; gives the codes of every frame that is complete."""

    def __init__(self, config: LMConfig):
        self.books, self.pattern = config.n_codebooks, pattern(config.codebook_pattern)
        self.tokens: Tensor | None = None
        self.given = 0  # frames that were handed out

    def add(self, tokens: Tensor) -> Tensor:
        """Codes `[B, K, s]` that tokens `[B, K, n]` complete; s may be 0."""
        self.tokens = tokens if self.tokens is None else torch.cat([self.tokens, tokens], dim=-1)
        done = self.pattern.complete(self.tokens.shape[-1], self.books)
        places = self.pattern.places(done, self.books)[None, :, self.given :]
        self.given = done
        return self.tokens.gather(2, places.expand(len(tokens), -1, -1))


def _noises(
    generators: Sequence[torch.Generator], total: int, shape: tuple[int, int], ahead: bool
) -> Iterator[Tensor]:
    """Noise `[n, B, K, V]` of every block; with `ahead` drawn while another device steps."""
    counts = [min(BLOCK, total - start) for start in range(0, total, BLOCK)]
    if not ahead:
        yield from (draw_noise(generators, count, shape) for count in counts)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(draw_noise, generators, counts[0], shape)
        for count in [*counts[1:], 0]:
            found = waiting.result()
            if count:
                waiting = pool.submit(draw_noise, generators, count, shape)
            yield found


class _Begun:
    """Codes that a clip has already, which its steps are led along instead of drawing.

    Exponential noise decides which code wins a step's race (`sampling.sample`), so noise is what
    leads it: next to none for the code that must come, and far too much for all others. The rest
    of the sampling is opened, so that no filter takes that code out of the race.
    """

    def __init__(self, codes: Tensor, config: LMConfig):
        """Of codes `[B, K, S]`."""
        order, books = pattern(config.codebook_pattern), config.n_codebooks
        self.tokens = order.apply(codes, 0)  # [B, K, T]
        # Steps all of whose codes are known; whole blocks, as a block has one way of sampling.
        known = order.steps(codes.shape[-1] + 1, books) - books
        self.steps = known // BLOCK * BLOCK

    def sampling(self, wanted: Sampling) -> Sampling:
        """As `wanted` in what an engine lays itself out for, and open to every code."""
        # Guidance is near none, where probabilities of rare codes are largest.
        guidance = 1 + 1e-6 if wanted.guided else 1.0
        return Sampling(1.0, 0, math.nextafter(1.0, wanted.top_p), guidance)

    def lead(self, noise: Tensor, start: int) -> Tensor:
        """Noise `[n, B, K, V]` of the block that begins at a step, made to lead."""
        wanted = self.tokens[..., start : start + len(noise)].permute(2, 0, 1)[..., None]
        return torch.full_like(noise, 1e30).scatter_(-1, wanted, 1e-30)


@torch.inference_mode()
def generate(
    engine: Engine[State],
    config: LMConfig,
    encoder: TextEncoder,
    requests: Sequence[Request],
    begun: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield codes `[B, K, n]` on the CPU, until the longest request has all of its frames.

    With codes `begun` `[B, K, S]` these come first, and it goes on from there; codes of the last
    few steps, fewer than a block and the books, are made anew.

    All requests share the sampling settings; each has a generator of its own, seeded by its seed
    and which draw of it is asked for.
    The conditions' plane is computed a few seconds at a time, outside the engine's loop.

    Raises:
        ValueError: If the requests do not share their sampling settings.
    """
    sampling, books = Sampling.of(requests), config.n_codebooks
    order = pattern(config.codebook_pattern)
    batch = read_requests(config, encoder, requests, engine.device)
    frames, rate = max(frames_of(config, r) for r in requests), config.codec.frame_rate
    generators = [generator_of(request) for request in requests]
    total, buffer = order.steps(frames, books), CodeBuffer(config)
    led = None if begun is None else _Begun(begun, config)
    drawn = _noises(generators, total, (books, config.vocab), engine.device.type != "cpu")
    # Whole blocks, so that a plane's end never falls inside one and noise is drawn as if in one go.
    ahead, state = BLOCK * max(1, round(PLANE_S * rate / BLOCK)), None
    for start in range(0, total, ahead):
        frame = order.frame_of(start, min(ahead, total - start), books, frames)
        first, last = int(frame[0]), int(frame[-1])
        given = batch.conditioning(last - first + 1, rate, first)
        plane = engine.plane(given)[:, (frame - first).to(engine.device)]
        if state is None:
            state = engine.prefill(given, total)
        for at in range(0, plane.shape[1], BLOCK):
            rows = plane[:, at : at + BLOCK]
            active = order.active(books, start + at, rows.shape[1], frames)
            noise, how = next(drawn), sampling
            if led is not None and start + at < led.steps:
                noise, how = led.lead(noise, start + at), led.sampling(sampling)
            tokens, state = engine.decode_n(state, rows, noise, active, how)
            yield buffer.add(tokens.cpu())
