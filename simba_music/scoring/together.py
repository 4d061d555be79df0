"""Scores of several clips at once: their prompts, and their windows of one length, as batches."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from simba_music.audio import Waveform
from simba_music.scoring.score import (
    TIMELINE_S,
    WINDOW_S,
    Score,
    Scorer,
    mean_vector,
    unscorable,
)


def _embedded(scorer: Scorer, windows: Sequence[Tensor]) -> Tensor:
    """Unit vectors `[W, E]` of windows `[T]`, those of one length in one batch."""
    places = defaultdict[int, list[int]](list)
    for place, window in enumerate(windows):
        places[len(window)].append(place)
    found: list[Tensor] = [torch.empty(0)] * len(windows)
    for own in places.values():
        vectors = scorer.embed_samples(torch.stack([windows[place] for place in own]))
        for place, vector in zip(own, vectors, strict=True):
            found[place] = vector
    return torch.stack(found)


def score_together(scorer: Scorer, clips: Sequence[tuple[Waveform, str]]) -> list[Score]:
    """What `scorer.score` says of each clip and its prompt, but for the last digit of a batch."""
    reasons = [unscorable(wave) for wave, _ in clips]
    scores = [Score(scorer.identifier, scorer.revision, None, None, reason) for reason in reasons]
    sound = [i for i, reason in enumerate(reasons) if reason is None]
    if not sound:
        return scores
    texts = scorer.embed_prompts([clips[i][1] for i in sound])
    whole = [scorer.cut(clips[i][0], WINDOW_S, flush=True) for i in sound]
    short = [scorer.cut(clips[i][0], TIMELINE_S, flush=False) for i in sound]
    parts = [*whole, *short]
    vectors = _embedded(scorer, [window for part in parts for window in part])
    own = torch.split(vectors, [len(part) for part in parts])
    for i, text, audio, timeline in zip(
        sound, texts, own[: len(sound)], own[len(sound) :], strict=True
    ):
        scores[i] = scorer.score_of(text, mean_vector(audio), timeline)
    return scores
