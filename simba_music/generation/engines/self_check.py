"""Self-check of an engine: its values and its speed against the reference, on the model itself."""

import time

import torch
from torch import Tensor

from simba_music.conditioning.batch import of_requests
from simba_music.conditioning.request import Request
from simba_music.conditioning.types import Conditioning, TextEmbedding
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.engines.types import Engine, State
from simba_music.generation.sampling import Sampling, draw_noise
from simba_music.models.lm import NO_CODE, MusicLM

STEPS = 6
CLOSE = 1e-3  # of the largest logit, in float32; 1e-6 is usual
DIVERGENCE = 0.05  # nats a token, mean KL divergence of weights in fewer bits; 1e-4 is usual


def _conditions(lm: MusicLM) -> Conditioning:
    """Conditions of one request with guidance, of `STEPS` frames; the text is random states."""
    config, generator = lm.config, torch.Generator().manual_seed(0)
    states = torch.randn(2, 4, config.text_encoder.width, generator=generator)
    text = TextEmbedding(states, torch.ones(2, 4, dtype=torch.bool))
    request = Request("slow piano", duration_s=2.0)
    batch = of_requests(config.conditions, [request], True, text, torch.tensor([False, True]))
    return batch.conditioning(STEPS, config.codec.frame_rate).to(lm.head.weight.device)


def _sampled(engine: Engine[State], lm: MusicLM, given: Conditioning) -> float:
    """Seconds of this thread's own time, which other work cannot take, to sample `STEPS` steps."""
    books = lm.config.n_codebooks
    noise = draw_noise([torch.Generator().manual_seed(0)], STEPS, (books, lm.config.vocab))
    active = torch.ones(books, STEPS, dtype=torch.bool)
    state, plane = engine.prefill(given, STEPS), engine.plane(given)
    started = time.thread_time()
    engine.decode_n(state, plane, noise, active, Sampling(top_k=100, guidance=2.0))
    return time.thread_time() - started


def _logits(engine: Engine[State], given: Conditioning, tokens: Tensor) -> Tensor:
    return engine.logits(engine.prefill(given, STEPS), tokens, engine.plane(given)).float()


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference of logits `[G, K, n, V]` from those that are wanted, over the largest."""
    # What a book has no code for would be the largest of all, and equal everywhere.
    found, wanted = (x.masked_fill(wanted == NO_CODE, 0.0) for x in (found, wanted))
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))


@torch.inference_mode()
def wrong_values(engine: Engine[State], lm: MusicLM) -> str:
    """What is wrong with an engine's logits, in words; empty if nothing is."""
    given, generator = _conditions(lm), torch.Generator().manual_seed(1)
    size = (1, lm.config.n_codebooks, STEPS)
    tokens = torch.randint(0, lm.config.vocab, size, generator=generator).to(given.null.device)
    wanted = _logits(ReferenceEngine(lm), given, tokens)
    found = _logits(engine, given, tokens)
    if engine.dtype == "float32":
        error = relative_error(found, wanted)
        if not error < CLOSE:  # NaN is not
            return f"its logits differ from the reference's by {error:.1e} of the largest"
        return ""
    likely = wanted.log_softmax(-1)
    divergence = (likely.exp() * (likely - found.log_softmax(-1))).sum(-1).mean()
    if not divergence < DIVERGENCE:
        return f"its probabilities diverge from the reference's by {divergence:.2g} nats"
    return ""


@torch.inference_mode()
def problem_of(engine: Engine[State], lm: MusicLM) -> str:
    """What is wrong with an engine on this machine, speed included; empty if nothing is."""
    problem = wrong_values(engine, lm)
    if problem:
        return problem
    given, reference = _conditions(lm), ReferenceEngine(lm)
    # The better of two: the first one also reads the weights from memory.
    own = min(_sampled(engine, lm, given) for _ in range(2))
    other = min(_sampled(reference, lm, given) for _ in range(2))
    return f"it takes {own / other:.1f} times as long as the reference" if own > other else ""
