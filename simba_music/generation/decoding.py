"""Decoding: requests to codes, block by block, on any engine."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from simba_music.conditioning.batch import Batch, of_requests, texts_of
from simba_music.conditioning.types import Request, TextEmbedding
from simba_music.generation.engines.types import Engine, State
from simba_music.generation.sampling import Sampling, draw_noise
from simba_music.models.config import LMConfig
from simba_music.models.text_encoder import TextEncoder

BLOCK = 10  # frames that are sampled before the caller hears of them
PLANE_S = 2.0  # of conditions that are computed at a time


def read_requests(
    config: LMConfig,
    encoder: TextEncoder,
    requests: Sequence[Request],
    device: torch.device | str = "cpu",
) -> Batch:
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
    """Every text with the request it is of; there are as many, or twice as many."""
    return ((text, requests[i % len(requests)]) for i, text in enumerate(texts))


def frames_of(config: LMConfig, request: Request) -> int:
    """Frames that a request needs."""
    return config.codec.frames(request.duration_s)


@torch.inference_mode()
def generate(
    engine: Engine[State], config: LMConfig, encoder: TextEncoder, requests: Sequence[Request]
) -> Iterator[Tensor]:
    """Yield codes `[B, K, n]` on the CPU, until the longest request has all of its frames.

    All requests share the sampling settings; each has a generator of its own, seeded by its seed.
    The conditions' plane is computed a few seconds at a time, outside the engine's loop.

    Raises:
        ValueError: If the requests do not share their sampling settings.
    """
    sampling, device = Sampling.of(requests), engine.device
    batch = read_requests(config, encoder, requests, device)
    total, rate = max(frames_of(config, r) for r in requests), config.codec.frame_rate
    generators = [torch.Generator().manual_seed(r.seed) for r in requests]
    state: State | None = None
    ahead = BLOCK * max(1, round(PLANE_S * rate / BLOCK))
    for start in range(0, total, ahead):
        given = batch.conditioning(min(ahead, total - start), rate, start)
        plane = engine.plane(given)
        if state is None:
            state = engine.prefill(given, total)
        for at in range(0, plane.shape[1], BLOCK):
            rows = plane[:, at : at + BLOCK]
            noise = draw_noise(generators, rows.shape[1], (config.n_codebooks, config.vocab))
            codes, state = engine.decode_n(state, rows, noise, sampling)
            yield codes.cpu()
