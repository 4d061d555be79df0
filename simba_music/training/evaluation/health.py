"""Health of clips: repetition, silence, endings and token statistics, beside held-out pieces."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from simba_music.audio import SAMPLE_RATE
from simba_music.generation.streaming.redrawing import longest_run
from simba_music.training.evaluation.measures import (
    Row,
    flatness,
    mean_row,
    onsets_per_s,
    row_of,
    share_row,
)

FRAME_S = 0.05
SILENT_DB = -40.0  # beside the whole clip
LONGEST_SILENCE_S = 3.0
ENDING_S = 0.5
FAINTEST_DB = -60.0
# Real pieces repeat a code in rests and held notes, so what is too long is theirs to say.
RUN_MARGIN = 1.5  # times the 99th percentile of the runs in held-out pieces
PRIOR = 16.0  # pseudo-counts of the unigram behind a bigram


def _levels_db(samples: np.ndarray) -> np.ndarray:
    """Level of every frame of `[T]` beside the whole, in dB."""
    size = round(FRAME_S * SAMPLE_RATE)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.mean(frames**2, axis=1) / (np.mean(samples**2) + 1e-20)
    found: np.ndarray = 10 * np.log10(power + 1e-20)
    return found


def longest_silence_s(samples: np.ndarray) -> float:
    """Longest stretch of `[T]` more than 40 dB below the whole, in seconds; all of it if zero."""
    if not np.any(samples):
        return len(samples) / SAMPLE_RATE
    silent = _levels_db(samples) < SILENT_DB
    stretches = (sum(1 for _ in group) for quiet, group in groupby(silent.tolist()) if quiet)
    return FRAME_S * max(stretches, default=0)


def quiet_share(samples: np.ndarray) -> float:
    """Share of `[T]` that is more than 40 dB below the whole; 1 if there is no sound."""
    return float(np.mean(_levels_db(samples) < SILENT_DB)) if np.any(samples) else 1.0


def ending_db(samples: np.ndarray) -> float:
    """Level of the last half second of `[T]` beside the whole, in dB, -60 at least."""
    last = samples[-round(ENDING_S * SAMPLE_RATE) :]
    ratio = np.mean(last**2) / (np.mean(samples**2) + 1e-20)
    return max(FAINTEST_DB, float(10 * np.log10(ratio + 1e-20)))


def sound_rows(name: str, sounds: Sequence[np.ndarray]) -> list[Row]:
    """Rows of what is found in clips `[T]` at 24 kHz."""
    return [
        mean_row("spectral flatness", name, [flatness(s) for s in sounds]),
        mean_row("onsets per second", name, [onsets_per_s(s) for s in sounds]),
        mean_row("level of the last half second (dB)", name, [ending_db(s) for s in sounds]),
        mean_row("longest silence (s)", name, [longest_silence_s(s) for s in sounds]),
    ]


def flatness_rows(
    name: str, flat: Sequence[float], pieces: Sequence[float], drums: Sequence[bool]
) -> list[Row]:
    """Rows of the flatness of clips where drums were asked for, where not, and beside the pieces'.

    The mean flatness of many clips has no better direction: drums are noise, and clips that leave
    them out are as far from their pieces as clips that add noise. So the mean is also taken apart
    by whether drums were asked for, and the absolute difference from the piece's flatness
    averaged. `flat`, `pieces` and `drums` have a value for every prompt.
    """
    rows = list[Row]()
    for metric, wanted in (("drums asked for", True), ("no drums asked for", False)):
        values = [value for value, asked in zip(flat, drums, strict=True) if asked == wanted]
        if values:
            rows.append(mean_row(f"spectral flatness, {metric}", name, values))
    errors = [abs(value - piece) for value, piece in zip(flat, pieces, strict=True)]
    return [*rows, mean_row("spectral flatness, distance from the piece's", name, errors)]


def _unigram(tokens: Sequence[np.ndarray], vocab: int) -> np.ndarray:
    # Half a count each (Jeffreys' prior), so that a code that one side lacks leaves the figure
    # finite.
    counts = np.bincount(np.concatenate(list(tokens)), minlength=vocab) + 0.5
    shares: np.ndarray = counts / counts.sum()
    return shares


def _bigrams(tokens: Sequence[np.ndarray], vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """(pairs `first * vocab + second`, how often each), over sequences end to end."""
    pairs = np.concatenate([t[:-1].astype(np.int64) * vocab + t[1:] for t in tokens])
    found, counts = np.unique(pairs, return_counts=True)
    return found, counts


def unigram_kl(tokens: Sequence[np.ndarray], held: Sequence[np.ndarray], vocab: int) -> float:
    """Kullback-Leibler divergence of the codes' shares from held-out pieces', in nats."""
    own, other = _unigram(tokens, vocab), _unigram(held, vocab)
    return float(np.sum(own * np.log(own / other)))


def bigram_kl(tokens: Sequence[np.ndarray], held: Sequence[np.ndarray], vocab: int) -> float:
    """Mean divergence of what follows a code from what follows it in held-out pieces, in nats.

    Held-out bigrams are smoothed towards their unigram (Dirichlet prior), so that the figure is
    finite; it shrinks with more held-out pieces and is to be read beside that of held-out halves.
    """
    pairs, counts = _bigrams(tokens, vocab)
    known, known_counts = _bigrams(held, vocab)
    at = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
    seen = np.where(known[at] == pairs, known_counts[at], 0)
    first, second = pairs // vocab, pairs % vocab
    own_first, held_first = (
        np.bincount(p // vocab, weights=c, minlength=vocab)[first]
        for p, c in ((pairs, counts), (known, known_counts))
    )
    own = counts / own_first
    # As PRIOR steps more from this code, shared out by the unigram.
    other = (seen + PRIOR * _unigram(held, vocab)[second]) / (held_first + PRIOR)
    return float(np.sum(counts / counts.sum() * np.log(own / other)))


def run_limit(held: Sequence[np.ndarray]) -> float:
    """How long a run of one token may be: 1.5 x the 99th percentile of held-out pieces."""
    return RUN_MARGIN * float(np.percentile([longest_run(t) for t in held], 99))


def token_rows(
    name: str, tokens: Sequence[np.ndarray], held: Sequence[np.ndarray], vocab: int
) -> list[Row]:
    """Rows of repetition and of the codes' statistics; `tokens` and `held` are `[S]` each."""
    runs = [longest_run(t) for t in tokens]
    one, two = unigram_kl(tokens, held, vocab), bigram_kl(tokens, held, vocab)
    return [
        mean_row("longest run of one token", name, runs),
        mean_row(
            "share of different tokens", name, [len(set(t.tolist())) / len(t) for t in tokens]
        ),
        row_of("KL of codes (nats)", name, one, one, one, len(tokens)),
        row_of("KL of pairs of codes (nats)", name, two, two, two, len(tokens)),
    ]


def degenerate_row(
    name: str, sounds: Sequence[np.ndarray], tokens: Sequence[np.ndarray], limit: float
) -> Row:
    """Share of clips with a silence of more than 3 s, or a run of a token beyond the limit."""
    bad = sum(
        longest_silence_s(s) > LONGEST_SILENCE_S or longest_run(t) > limit
        for s, t in zip(sounds, tokens, strict=True)
    )
    return share_row("degenerate clips", name, bad, len(sounds))
