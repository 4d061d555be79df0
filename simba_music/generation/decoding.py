"""Generation: prefill, then a decode loop with classifier-free guidance that yields every frame."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from simba_music.conditioning.beat import BeatClock, named_tempo
from simba_music.conditioning.key import Key, key_features, named_key
from simba_music.conditioning.line_up import line_up_features, named_instruments
from simba_music.generation.request import GenerationRequest
from simba_music.generation.sampling import guide, sample
from simba_music.models.lm import LMState, MusicLM
from simba_music.models.text_encoder import TextEmbedding, TextEncoder

UNGUIDED_BEAT = 0.85  # level of the beat clock for the half without the prompt
GUIDED_KEY, UNGUIDED_KEY = 1.5, 0.5  # levels of the key for both halves; models learn with 1
GUIDED_LINE_UP = 1.5  # level of the line-up for the half with the prompt; models learn with 1
EARLIEST_END_S = 5.0  # told an earlier end, a model may play nothing but the silence of an ending
END_LEAD_S = 0.5  # by so much later the half without the prompt is told the end


def prefill(lm: MusicLM, encoder: TextEncoder, requests: Sequence[GenerationRequest]) -> LMState:
    """State that has read the prompts.

    With guidance the batch is twice the requests: with the prompt, then with the negative prompt
    (or the learned null text where there is none). Both play to the tempo that the prompt names,
    unless the negative prompt names its own. The second half hears it at `UNGUIDED_BEAT`: the
    lower that is, the more is the beat followed; at 0.65 drums were noisier. The first half
    hears the line-up at `GUIDED_LINE_UP`, with which drums are more often as asked, and the key at
    `GUIDED_KEY`, since at the level of training a mode is hardly followed, and by SiMBA at three
    times that less again; the second half hears it at `UNGUIDED_KEY`. The second is told an end
    `END_LEAD_S` later, so that guidance leads to the end; were it told of none, more clips would
    swell before they end, and fewer fade. Models are told an end that lies the silence later with
    which their training pieces end, and never before `EARLIEST_END_S`.
    """
    prompts = [r.prompt for r in requests]
    null = [False] * len(requests)
    total_s = [max(EARLIEST_END_S, r.duration_s + lm.config.tail_s) for r in requests]
    tempo = [heard_tempo(lm, r) for r in requests]
    key = key_features([heard_key(lm, r) for r in requests])
    line_up = line_up_features(prompts, lm.config.line_up)
    if requests[0].guidance != 1:
        prompts += [r.negative or r.prompt for r in requests]
        null += [not r.negative for r in requests]
        total_s *= 2
        tempo += [named_tempo(r.negative) or own for r, own in zip(requests, tempo, strict=True)]
        key = torch.cat([GUIDED_KEY * key, UNGUIDED_KEY * key])
        unsaid = line_up_features([r.negative for r in requests], lm.config.line_up)
        line_up = torch.cat([GUIDED_LINE_UP * line_up, unsaid])
    device = lm.head.weight.device
    text = TextEmbedding(*(t.to(device) for t in encoder.encode(prompts)))
    clock = BeatClock.of(torch.tensor(tempo, device=device))
    clock.level[len(requests) :] = UNGUIDED_BEAT
    state = lm.init_state(
        text,
        torch.tensor(null, device=device),
        torch.tensor(total_s, device=device),
        max(frames_of(lm, r) for r in requests),
        clock,
        key.to(device),
        line_up.to(device),
    )
    state.end_s[len(requests) :] += END_LEAD_S
    return state


def heard_tempo(lm: MusicLM, request: GenerationRequest) -> float:
    """Tempo that a model is told for a request, in beats a minute; 0 if none."""
    return named_tempo(request.prompt) if lm.config.beat_clock else 0.0


def heard_key(lm: MusicLM, request: GenerationRequest) -> Key | None:
    """Key that a model is told for a request; None if none."""
    return named_key(request.prompt, request.seed) if lm.config.key_signature else None


def heard_line_up(lm: MusicLM, request: GenerationRequest) -> list[str]:
    """Titles of the instruments that a model is told for a request."""
    names = lm.config.line_up
    return [names[i][0] for i in named_instruments(request.prompt, names)]


def frames_of(lm: MusicLM, request: GenerationRequest) -> int:
    """Frames that a request needs."""
    return lm.config.codec.frames(request.duration_s)


def decode(lm: MusicLM, state: LMState, requests: Sequence[GenerationRequest]) -> Iterator[Tensor]:
    """Sample frame after frame, each `[B]`, until the longest request has all of its frames.

    All requests share the sampling settings; each has a generator of its own, seeded by its seed.
    """
    batch, settings = len(requests), requests[0]
    device = lm.head.weight.device
    generators = [torch.Generator().manual_seed(r.seed) for r in requests]
    guided = settings.guidance != 1
    tokens = torch.full((batch,), lm.config.special_ids.bos, device=device)
    for _ in range(max(frames_of(lm, r) for r in requests)):
        previous = tokens.repeat(2) if guided else tokens
        logits, state = lm.step(previous[:, None, None], state)
        logits = logits[:, 0, 0].float()
        if guided:
            logits = guide(logits[:batch], logits[batch:], settings.guidance)
        tokens = sample(logits, generators, settings.temperature, settings.top_k, settings.top_p)
        yield tokens


@torch.inference_mode()
def generate(
    lm: MusicLM, encoder: TextEncoder, requests: Sequence[GenerationRequest]
) -> Iterator[Tensor]:
    """Yield the frames of B requests one by one, each `[B]` token ids on the CPU.

    Raises:
        ValueError: If the requests do not share their sampling settings.
    """
    shared = {(r.temperature, r.top_k, r.top_p, r.guidance) for r in requests}
    if len(shared) != 1:
        raise ValueError("Requests of one batch must share temperature, top_k, top_p, guidance.")
    for frame in decode(lm, prefill(lm, encoder, requests), requests):
        yield frame.cpu()
