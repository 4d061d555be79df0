"""Alignment score of text and audio: its null band, its timeline, and a scorer's self-check."""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from simba_music.audio import Waveform, mono, resample
from simba_music.errors import CheckpointError

# HTSAT, the audio tower of LAION's CLAP, takes 10 s; other scorers get the same, to compare.
WINDOW_S = 10.0  # windows of a clip, the last one flush right; their vectors are averaged
TIMELINE_S = 2.5  # windows of the timeline, end to end
SHORTEST_S = 1.0
SILENCE_RMS = 1e-4
CLIPPED_SHARE = 0.01  # of the samples, standing still at the peak
# A checkpoint may be published with a tower that maps everything to one place, such as
# laion/larger_clap_music: its cosines are high and mean nothing.
COLLAPSED_TEXT = 0.9  # mean cosine of unrelated prompts from which a text tower says nothing
COLLAPSED_AUDIO = 0.999
FEWEST_WINDOWS = 3  # for an interval
NEAREST, NEARER = 3, 0.1  # prompts of each band, and cosines by which one must be nearer
CHANCE = 0.5
NONSENSE = "low confidence: to the scorer this prompt is nearer to nonsense than to any caption"
UNRELATED = (
    "calm solo piano",
    "heavy metal with distorted guitars",
    "techno with a four on the floor beat",
    "a cappella choir in a cathedral",
    "banjo and fiddle, bluegrass",
    "slow blues guitar",
    "orchestral film score with brass",
    "reggae bass and off-beat guitar",
    "chiptune, video game",
    "sitar and tabla",
    "waltz for accordion",
    "ambient drone",
    "salsa with trumpets and congas",
    "harpsichord, baroque",
    "drum and bass, fast",
    "flute solo, gentle",
    "hip hop beat with vinyl crackle",
    "string quartet, tense",
    "marching band",
    "acoustic guitar, folk, happy",
)


@dataclass(frozen=True)
class Score:
    """How well a clip fits its prompt, or why it was not scored.

    cosine in [-1, 1]; percentile: share of mismatched prompts, in %, that fit this clip less well,
    or of nonsense, whichever is less, of `null_prompts` in all; timeline: cosines of windows of
    `TIMELINE_S`, end to end; note: why the score says little, "" if nothing speaks for that.
    """

    scorer: str
    revision: str
    cosine: float | None
    percentile: float | None
    reason: str | None = None
    null_prompts: int = 0
    timeline: tuple[float, ...] = ()
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a recipe."""
        return asdict(self)


class Difference(NamedTuple):
    """Mean difference of two timelines with its 95 % interval, over `windows` pairs."""

    mean: float
    low: float
    high: float
    windows: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def difference(first: Score, second: Score) -> Difference | None:
    """How much better the first fits than the second, paired window by window (Student's t).

    None where one is not scored, the scorers differ, or there are too few windows.
    """
    # Cosines of two scorers have no common scale.
    if (first.scorer, first.revision) != (second.scorer, second.revision):
        return None
    count = min(len(first.timeline), len(second.timeline))
    if count < FEWEST_WINDOWS:
        return None
    # Paired, so that what is hard about a prompt at a time of the clip cancels. Windows of one clip
    # are not independent: the interval is of these two clips, and says nothing of other ones.
    pairs = np.subtract(first.timeline[:count], second.timeline[:count])
    mean = float(pairs.mean())
    # Student's t of equal values is 0 / 0.
    if np.ptp(pairs) == 0:
        return Difference(mean, mean, mean, count)
    interval = stats.ttest_1samp(pairs, 0).confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high), count)


def unscorable(wave: Waveform) -> str | None:
    """Why a clip cannot be scored, None if it can."""
    if wave.duration_s < SHORTEST_S:
        return f"shorter than {SHORTEST_S:g} s"
    samples = mono(wave).samples[0]
    if float(samples.pow(2).mean().sqrt()) < SILENCE_RMS:
        return "silent"
    # Neighbours alike near the peak: what clipping leaves, and a sine of full scale does not.
    still = (samples[1:] == samples[:-1]) & (samples[1:].abs() > 0.9 * samples.abs().max())
    return "clipped" if float(still.float().mean()) > CLIPPED_SHARE else None


class Scorer(ABC):
    """Two towers into one space, with a fixed set of mismatched prompts.

    A scorer names itself in every score it gives: `identifier`, `revision`. Scores are
    deterministic: windows are fixed, nothing is cropped at random.
    """

    def __init__(self, identifier: str, revision: str, sample_rate: int):
        self.identifier, self.revision, self.sample_rate = identifier, revision, sample_rate
        self._null_prompts: tuple[str, ...] = ()
        self._null: Tensor | None = None
        self._nonsense: Tensor | None = None
        self._embedding = threading.Lock()

    @abstractmethod
    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Unit vectors `[B, E]` of prompts."""

    @abstractmethod
    def embed_samples(self, samples: Tensor) -> Tensor:
        """Unit vectors `[B, E]` of mono windows `[B, T]` at `sample_rate`, of at most 10 s."""

    def prepare(self, null_prompts: Sequence[str]) -> None:
        """Refuse collapsed towers, and keep the mismatched prompts until a clip is scored.

        Raises:
            CheckpointError: If unrelated prompts, or unrelated sounds, all look the same to it.
        """
        # Measured at loading: weights can be whole, of the right shape, and worthless.
        text = _mean_cosine(self.embed_prompts(UNRELATED))
        if text > COLLAPSED_TEXT:
            raise CheckpointError(
                f"Scorer {self.identifier} is refused: to its text tower unrelated prompts are the "
                f"same (mean cosine {text:.4f} of {len(UNRELATED)}, {COLLAPSED_TEXT} at most is "
                "sound). Use another, such as laion/clap-htsat-unfused."
            )
        audio = _mean_cosine(self.embed_samples(_unrelated_sounds(self.sample_rate)))
        if audio > COLLAPSED_AUDIO:
            raise CheckpointError(
                f"Scorer {self.identifier} is refused: to its audio tower noise, a tone and clicks "
                f"are the same (mean cosine {audio:.4f}). Use another."
            )
        self._null_prompts, self._null, self._nonsense = tuple(null_prompts), None, None

    @property
    def null(self) -> Tensor:
        """Unit vectors `[N, E]` of the mismatched prompts, embedded when first asked for."""
        with self._embedding:
            if self._null is None:
                self._null = self.embed_prompts(self._null_prompts)
            return self._null

    @property
    def nonsense(self) -> Tensor:
        """Unit vectors `[N, E]` of prompts without sense, embedded when first asked for."""
        with self._embedding:
            if self._nonsense is None:
                self._nonsense = self.embed_prompts(nonsense_prompts())
            return self._nonsense

    def cut(self, wave: Waveform, window_s: float, flush: bool) -> list[Tensor]:
        """Mono windows `[T]` at `sample_rate`; the last is flush right, or left out if short."""
        samples = resample(mono(wave), self.sample_rate).samples[0]
        size = round(window_s * self.sample_rate)
        starts = list(range(0, max(1, len(samples) - size + 1), size))
        # Flush right instead of padded: padding is silence, which no prompt asked for.
        if flush:
            starts = sorted({*starts, max(0, len(samples) - size)})
        return [samples[s : s + size] for s in starts]

    def _vectors(self, windows: Sequence[Tensor]) -> Tensor:
        """Unit vectors `[W, E]` of windows, one after the other."""
        return torch.cat([self.embed_samples(window[None]) for window in windows])

    def embed_wave(self, wave: Waveform) -> Tensor:
        """Unit vector `[E]` of a clip: the mean over its windows of 10 s."""
        return mean_vector(self._vectors(self.cut(wave, WINDOW_S, flush=True)))

    def score(self, wave: Waveform, prompt: str) -> Score:
        """Score a clip against its prompt, or say why it cannot be scored."""
        reason = unscorable(wave)
        if reason is not None:
            return Score(self.identifier, self.revision, None, None, reason)
        text = self.embed_prompts([prompt])[0]
        timeline = self._vectors(self.cut(wave, TIMELINE_S, flush=False))
        return self.score_of(text, self.embed_wave(wave), timeline)

    def score_of(self, text: Tensor, audio: Tensor, timeline: Tensor) -> Score:
        """The score of unit vectors: prompt `[E]`, clip `[E]`, windows of the timeline `[W, E]`."""
        cosine = float(audio @ text)
        # A cosine has no scale of its own: 0.3 is much for one scorer and little for another. How
        # many prompts that were not asked for fit less well is comparable, and chance is 50 %.
        # Nonsense lies apart from all captions, so that a clip may fit it better than any of them:
        # a prompt must also fit better than nonsense does.
        bands = (self.null, self.nonsense)
        below = min(float((band @ audio < cosine).float().mean()) for band in bands)
        # The space of a contrastive model has no place for what no caption says: a cosine with that
        # is an accident, and no match however high.
        senseless = self._is_senseless(text)
        below = min(below, CHANCE) if senseless else below
        along = (timeline @ text).tolist()
        return Score(
            self.identifier,
            self.revision,
            round(cosine, 4),
            round(100 * below, 1),
            None,
            sum(len(band) for band in bands),
            tuple(round(value, 4) for value in along),
            NONSENSE if senseless else "",
        )

    def _is_senseless(self, text: Tensor) -> bool:
        """Whether a prompt `[E]` lies clearly nearer to nonsense than to captions."""
        captions, nonsense = (
            float((band @ text).topk(min(NEAREST, len(band))).values.mean())
            for band in (self.null, self.nonsense)
        )
        return nonsense > captions + NEARER


def mean_vector(vectors: Tensor) -> Tensor:
    """Unit vector `[E]` of a clip, of those of its windows `[W, E]`."""
    return F.normalize(vectors.mean(0), dim=-1)


def nonsense_prompts(count: int = 100) -> list[str]:
    """Prompts of made-up words, always the same: keys struck at random, one to five words each."""
    rng, rows = random.Random(0), ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    found = []
    for i in range(count):
        letters = rows[i % 3] if i % 2 else "".join(rows)
        words = ("".join(rng.choices(letters, k=rng.randint(3, 8))) for _ in range(1 + i % 5))
        found.append(" ".join(words))
    return found


def _mean_cosine(vectors: Tensor) -> float:
    """Mean cosine of all pairs of unit vectors `[B, E]`."""
    count = len(vectors)
    return float(((vectors @ vectors.T).sum() - count) / (count * (count - 1)))


def _unrelated_sounds(sample_rate: int) -> Tensor:
    """Noise, a tone and clicks of four seconds, `[3, T]`."""
    time = torch.arange(4 * sample_rate) / sample_rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    clicks = (time * 4 % 1 < 0.002).float()
    return torch.stack([0.1 * noise, 0.1 * torch.sin(2 * torch.pi * 440 * time), 0.5 * clicks])
