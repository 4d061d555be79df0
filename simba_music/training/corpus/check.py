"""Check: what independent methods find in the corpus, against its facts."""

import hashlib
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pretty_midi
from tqdm import tqdm

from simba_music.audio import SAMPLE_RATE
from simba_music.conditioning.reading.scales import NOTES
from simba_music.errors import RequestError
from simba_music.files import write_json
from simba_music.training.corpus.build import renderer
from simba_music.training.corpus.composing.compose import compose_again
from simba_music.training.corpus.composing.theory import BRIGHT
from simba_music.training.corpus.rendering.mix import balance, master
from simba_music.training.corpus.rendering.production import produce
from simba_music.training.corpus.store import MANIFEST, Row, check_composed, read_rows
from simba_music.training.record import machine

logger = logging.getLogger(__name__)

TEMPO_TOLERANCE = 0.04
TEMPO_HOP = 256  # fine enough for 4 % at 180 beats a minute
AUDIBLE_DB = -20.0
SILENT_RMS = 10 ** (-50 / 20)
# Krumhansl and Kessler (1982), perceived fit of the twelve pitch classes to a key.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
# Where the relative major or minor of a mode's tonic lies, in semitones, and its kind.
RELATIVES = {
    "major": {(0, "major"), (9, "minor")},
    "minor": {(0, "minor"), (3, "major")},
    "dorian": {(0, "minor"), (3, "major"), (10, "major"), (7, "minor")},
    "mixolydian": {(0, "major"), (9, "minor"), (5, "major"), (2, "minor")},
    "phrygian": {(0, "minor"), (3, "major"), (8, "major"), (5, "minor")},
    "pentatonic": {(0, "major"), (9, "minor")},
    "minor pentatonic": {(0, "minor"), (3, "major")},
}


def krumhansl_key(score: pretty_midi.PrettyMIDI) -> tuple[int, str]:
    """Tonic as pitch class and major or minor: the profile that the notes correlate with best."""
    histogram = score.get_pitch_class_histogram(use_duration=True)
    found = []
    for kind, profile in (("major", MAJOR), ("minor", MINOR)):
        for tonic in range(12):
            fit = np.corrcoef(histogram, np.roll(profile, tonic))[0, 1]
            found.append((fit, tonic, kind))
    _, tonic, kind = max(found)
    return tonic, kind


def heard_tempo(samples: np.ndarray) -> float:
    """Tempo of `[T]` in beats a minute, as librosa finds it."""
    found = librosa.feature.tempo(y=samples, sr=SAMPLE_RATE, hop_length=TEMPO_HOP)
    return float(found[0])


def same_tempo(found: float, tempo: float, tolerance: float = TEMPO_TOLERANCE) -> bool:
    """Whether `found` is the tempo, its double or its half, within a share of it."""
    return any(abs(found / (tempo * m) - 1) <= tolerance for m in (0.5, 1, 2))


def _db(part: np.ndarray, whole: np.ndarray) -> float:
    ratio = np.sqrt(np.mean(part**2) / (np.mean(whole**2) + 1e-20))
    return 20 * float(np.log10(ratio + 1e-10))


def check_piece(row: Row) -> dict[str, Any]:
    """Compare one piece with its facts."""
    score, plan, _ = compose_again(row)
    production = produce(plan)
    stems = renderer(SAMPLE_RATE).stems(score, production, row["duration_s"])
    balanced = balance(stems, production, SAMPLE_RATE)
    sound = master([role for role, _ in stems], balanced, production, SAMPLE_RATE)
    dry = np.sum(balanced, axis=0)
    levels = []
    for crop in row["crops"]:
        span = slice(*(round(crop[k] * SAMPLE_RATE) for k in ("start_s", "end_s")))
        for (role, _), stem in zip(stems, balanced, strict=True):
            if role in crop["roles"]:
                levels.append((_db(stem[span], dry[span]), f"{role}: {crop['roles'][role]}"))
    tonic, kind = krumhansl_key(score)
    distance = (tonic - NOTES.index(row["key"])) % 12
    return {
        "tempo": same_tempo(heard_tempo(sound), row["tempo"]) if "drums" in row["lineup"] else None,
        "key": (distance, kind) in RELATIVES[row["mode"]],
        "tonic": distance == 0 and (kind == "major") == (row["mode"] in BRIGHT),
        "levels": levels,
        "silent": bool(np.sqrt(np.mean(sound**2)) < SILENT_RMS),
        "clipped": bool(np.abs(sound).max() >= 1),
    }


def check_corpus(corpus: Path, pieces: int, out: Path) -> None:
    """Check so many pieces, spread over the corpus, and write what was found to `out`.

    Raises:
        RequestError: If there are fewer pieces, or they have no seed to compose them from.
    """
    check_composed(corpus, "comparing facts")
    rows = list(read_rows(corpus / MANIFEST))
    if len(rows) < pieces or any("seed" not in row for row in rows):
        raise RequestError(f"{corpus} holds no {pieces} composed pieces.")
    picked = [rows[i] for i in np.linspace(0, len(rows) - 1, pieces).astype(int)]
    found = [check_piece(row) for row in tqdm(picked, unit="piece", desc="check", disable=None)]
    tempi = [f["tempo"] for f in found if f["tempo"] is not None]
    levels = [level for f in found for level in f["levels"]]
    quiet = Counter(name for level, name in levels if level < AUDIBLE_DB)
    hashes = Counter(
        hashlib.sha256((corpus / "midi" / f"{row['id']}.mid").read_bytes()).digest() for row in rows
    )
    report = {
        "machine": machine(),
        "corpus": {
            "pieces": len(rows),
            "hours": round(sum(row["duration_s"] for row in rows) / 3600, 2),
            "first_seed": rows[0]["seed"],
        },
        "checked": pieces,
        "tempo_right_or_double_or_half": _share(tempi),
        "key_right_or_relative": _share([f["key"] for f in found]),
        "tonic_and_third_right": _share([f["tonic"] for f in found]),
        "named_instruments_within_20_db": _share([level >= AUDIBLE_DB for level, _ in levels]),
        "quiet": dict(quiet.most_common(10)),
        "silent": sum(f["silent"] for f in found),
        "clipped": sum(f["clipped"] for f in found),
        "same_as_another": sum(count - 1 for count in hashes.values()),
    }
    write_json(out, report)
    logger.info("%s", report)


def _share(values: list[bool]) -> dict[str, float]:
    return {"share": round(float(np.mean(values)), 4), "n": len(values)}
