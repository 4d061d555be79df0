"""Codec evaluation: round trips against the originals, beside Opus and a quantised-mel floor."""

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pretty_midi
import torch
from torch import Tensor

from simba_music import audio
from simba_music.audio import SAMPLE_RATE, Waveform
from simba_music.errors import CheckpointError
from simba_music.hub.places import BUNDLED
from simba_music.models.codec import Codec
from simba_music.scoring.loading import load_scorer
from simba_music.scoring.score import Scorer
from simba_music.training.codec.baselines import System, baselines, hub_codecs, training_sounds
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.composing.compose import compose_again
from simba_music.training.corpus.store import (
    MANIFEST,
    crop_audio,
    piece_audio,
    read_rows,
    to_float,
)
from simba_music.training.corpus.tokens import codec_ref
from simba_music.training.evaluation.figures import draw_pairs
from simba_music.training.evaluation.measures import Heard, Row, in_order, row_of
from simba_music.training.evaluation.report import update_report
from simba_music.training.evaluation.round_trips import Judges, Measured, Sound, difference_rows
from simba_music.training.judges.tagger import load_tagger, tagger_weights

logger = logging.getLogger(__name__)

SCORER = "clap"
LAION_NAME, UNREACHABLE = "LAION CLAP", "not reachable here"
LAION = "laion/clap-htsat-unfused"
LEGATO_S = 0.1  # notes of one voice overlap by less
SHOWN_S = 8  # of a sound in the sheet of spectrograms


def bench_sounds(folder: Path, count: int | None = None) -> list[Sound]:
    """Renderings of the frozen benchmark, or of `count` of them, spread evenly."""
    items = list(read_bench(folder))
    return [
        Sound(
            Heard(item.render(SAMPLE_RATE)),
            item.score,
            set(item.facts["roles"]) == {"melody"},
            item.facts["genre"],
        )
        for item in (items[i] for i in _spread(len(items), count))
    ]


def bench_solos(folder: Path) -> list[Sound]:
    """Renderings of every monophonic pitched solo of the frozen benchmark, for their pitch."""
    return [
        Sound(Heard(item.render(SAMPLE_RATE)), item.score, True, item.facts["genre"])
        for item in read_bench(folder)
        if one_voice(item.score)
    ]


def one_voice(score: pretty_midi.PrettyMIDI) -> bool:
    """Whether a score is one pitched part that never has two notes at a time."""
    played = [part for part in score.instruments if part.notes]
    if len(played) != 1 or played[0].is_drum:
        return False
    notes = sorted(played[0].notes, key=lambda note: (note.start, note.end))
    # A legato player lets a note go a little after the next has begun.
    return all(b.start > a.end - LEGATO_S for a, b in itertools.pairwise(notes))


def real_sounds(corpus: Path, count: int | None = None) -> list[Sound]:
    """Crops of the recordings that an imported corpus keeps for tests, or `count` spread evenly."""
    rows = [row for row in read_rows(corpus / MANIFEST) if row["split"] == "test"]
    total = sum(len(row["crops"]) for row in rows)
    chosen = set(_spread(total, count).tolist())
    crops = (
        sound
        for row, samples in piece_audio(corpus)
        if row["split"] == "test"
        for sound in crop_audio(row, samples, SAMPLE_RATE)
    )
    return [Sound(Heard(sound)) for i, sound in enumerate(crops) if i in chosen]


def _spread(total: int, count: int | None) -> np.ndarray:
    """Indices of `count` of so many things, spread evenly; of all where there are no more."""
    found: np.ndarray = np.linspace(0, total - 1, min(count or total, total)).astype(int)
    return found


def corpus_sounds(corpus: Path, count: int) -> list[Sound]:
    """The first pieces of a rendered, composed corpus, with their scores."""
    found = list[Sound]()
    for row, samples in piece_audio(corpus):
        if len(found) < count:
            solo = set(row["lineup"]) == {"melody"}
            sound = Heard(to_float(samples))
            found.append(Sound(sound, compose_again(row)[0], solo, row["genre"]))
    return found


class RoundTrip:
    """A codec's first books as a system; it remembers the last one's codes, and its own time.

    Systems of one codec may share `encoded`, codes `[1, K, S]` of all its books by the identity of
    samples that outlive them, as the codes of its first books are those of fewer.
    """

    def __init__(self, codec: Codec, books: int = 1, encoded: dict[int, Tensor] | None = None):
        self.codec, self.books = codec, books
        self._encoded = encoded
        self.tokens: list[np.ndarray] = []
        self.decode_s, self.audio_s = 0.0, 0.0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """What the codec makes of samples `[T]` at 24 kHz."""
        wave = Waveform(torch.from_numpy(samples)[None], SAMPLE_RATE)
        tokens = self._codes(samples, wave)
        self.tokens.append(tokens[0, -1].numpy())
        started = time.monotonic()
        (wave,) = self.codec.decode(tokens)
        self.decode_s += time.monotonic() - started
        self.audio_s += wave.duration_s
        return audio.resample(wave, SAMPLE_RATE).samples[0].numpy()

    def _codes(self, samples: np.ndarray, wave: Waveform) -> Tensor:
        if self._encoded is None:
            return self.codec.encode(wave, self.books)
        if id(samples) not in self._encoded:
            self._encoded[id(samples)] = self.codec.encode(wave, self.codec.n_codebooks)
        return self._encoded[id(samples)][:, : self.books]

    def rows(self, name: str) -> list[Row]:
        """How many codes of the last book are in use, how evenly; seconds to decode ten seconds."""
        tokens, size = np.concatenate(self.tokens), self.codec.codes_per_book[self.books - 1]
        shares = np.bincount(tokens, minlength=size) / len(tokens)
        used = shares[shares > 0]
        perplexity = float(np.exp(-(used * np.log(used)).sum()))
        seconds = 10 * self.decode_s / self.audio_s
        return [
            _exact("codes in use (share)", name, len(used) / size, len(tokens)),
            _exact("code perplexity over codes", name, perplexity / size, len(tokens)),
            _exact("seconds to decode 10 s", name, seconds, len(self.tokens)),
        ]


def _exact(metric: str, model: str, value: float, count: int) -> Row:
    return row_of(metric, model, value, value, value, count)


def _fitted(samples: np.ndarray, length: int) -> np.ndarray:
    if len(samples) == length:
        return samples
    return np.pad(samples, (0, max(0, length - len(samples))))[:length]


@dataclass(frozen=True)
class Held:
    """Held-out sounds to measure on, and solos of which the pitch alone is measured."""

    sounds: Sequence[Sound]
    solos: Sequence[Sound] = ()


def listen(held: Held, system: System, judges: Judges, rate: int) -> Measured:
    """What a system makes of held-out sounds; `rate` is the codec's frame rate in Hz."""
    found = Measured()
    for sound in held.sounds:
        found.add(judges, sound, _fitted(system(sound.samples), len(sound.samples)), rate)
    for sound in held.solos:
        found.add_solo(sound, _fitted(system(sound.samples), len(sound.samples)))
    return found


def measure(name: str, held: Held, system: System, judges: Judges, rate: int) -> list[Row]:
    """Every measure of one system over held-out sounds; `rate` is the codec's frame rate in Hz."""
    rows = listen(held, system, judges, rate).rows(name)
    logger.info("%s: %s", name, {row["metric"]: row["value"] for row in rows})
    return rows


def codec_rows(name: str, codec: Codec, held: Held, judges: Judges) -> list[Row]:
    """Every measure of a codec's first book, its use of codes and its speed included."""
    return _rows_of(name, RoundTrip(codec), held, judges)


def _rows_of(name: str, system: RoundTrip, held: Held, judges: Judges) -> list[Row]:
    return measure(name, held, system, judges, system.codec.frame_rate) + system.rows(name)


def book_rows(name: str, codec: Codec, held: Held, judges: Judges) -> Iterator[Row]:
    """Rows of one book of a codec, of two, and so on to all that it has."""
    encoded = dict[int, Tensor]()
    for books in range(1, codec.n_codebooks + 1):
        column = name if books == 1 else f"{name}, {books} books"
        yield from _rows_of(column, RoundTrip(codec, books, encoded), held, judges)


def compare_codecs(
    one: Path, other: Path, sounds: list[Sound], scorer: Scorer | None = None
) -> list[Row]:
    """Rows of a codec, of another, and of the first minus the second, piece by piece.

    For one book, and for as many as both have.
    """
    judges = Judges(load_tagger(), {"scorer": scorer} if scorer else None)
    rows = list[Row]()
    codecs = [Codec.load(folder, codec_ref(folder)) for folder in (one, other)]
    encoded = [dict[int, Tensor](), dict[int, Tensor]()]
    for books in range(1, min(codec.n_codebooks for codec in codecs) + 1):
        found = []
        for folder, codec, kept in zip((one, other), codecs, encoded, strict=True):
            system = RoundTrip(codec, books, kept)
            trips = listen(Held(sounds), system, judges, codec.frame_rate)
            rows += trips.rows(f"{folder}, books {books}")
            found.append(trips)
        rows += difference_rows(f"{one} - {other}, books {books}", *found)
    return in_order(rows)


def draw_round_trips(codec: Codec, sounds: list[Sound], path: Path, genres: int = 8) -> None:
    """Spectrograms of the first sound of each of `genres` genres, above the codec's round trip."""
    firsts = list({sound.genre: sound for sound in reversed(sounds)}.values())[:genres]
    pairs = []
    for sound in firsts:
        wave = Waveform(torch.from_numpy(sound.samples)[None, : SHOWN_S * SAMPLE_RATE], SAMPLE_RATE)
        (other,) = codec.decode(codec.encode(wave))
        pairs.append((sound.genre, wave, other))
    draw_pairs(pairs, path)


def _scorers() -> tuple[dict[str, Scorer], dict[str, str]]:
    """Scorers by the name that rows give them, and those that cannot be had, with the reason."""
    found, missing = {"scorer": load_scorer(SCORER)}, dict[str, str]()
    try:
        found[LAION_NAME] = load_scorer(LAION)
    except CheckpointError:
        missing[LAION_NAME] = UNREACHABLE
    return found, missing


def evaluate_codec(
    folders: list[Path],
    bench: Path,
    real: Path | None,
    corpus: Path | None,
    report: Path,
    count: int,
) -> None:
    """Fill the tables `codec` (frozen benchmark) and `codec-real` of the report.

    Each codec's folder gets a sheet of spectrograms, `spectrograms.png`.

    Args:
        folders: the codecs; the first one's frame rate is where combs are looked for.
        bench: the frozen benchmark; it is rendered, which needs FluidSynth.
        real: imported recordings, of which the test split is used.
        corpus: rendered corpus; the mel floor is fitted to its training pieces.
        report: REPORT.json.
        count: pieces of the benchmark, and crops of the recordings.
    """
    scorers, missing = _scorers()
    judges, tables = Judges(load_tagger(), scorers), dict[str, list[Row]]()
    training = training_sounds(corpus) if corpus else []
    sounds, solos = bench_sounds(bench, count), bench_solos(bench)
    # Of the solos every one, and none twice.
    sets = {"codec": Held([replace(sound, solo=False) for sound in sounds], solos)} | (
        {"codec-real": Held(real_sounds(real, count))} if real else {}
    )
    codecs = {folder.name: Codec.load(folder, codec_ref(folder)) for folder in folders}
    rate = next(iter(codecs.values())).frame_rate
    for folder in folders:
        draw_round_trips(codecs[folder.name], sounds, folder / "spectrograms.png")
    others, published = list(baselines(training)), list(hub_codecs())
    missing |= {name: UNREACHABLE for name, other in published if other is None}
    for table, held in sets.items():
        rows = [row for name, own in codecs.items() for row in book_rows(name, own, held, judges)]
        for name, system in others:
            rows += measure(name, held, system, judges, rate)
        for name, other in published:
            if other is not None:
                rows += codec_rows(name, other, held, judges)
        tables[table] = in_order(rows)
    weights = tagger_weights() | tagger_weights(BUNDLED / SCORER)
    for own in codecs.values():
        weights |= own.ref.weights
    update_report(report, tables, weights, missing)
