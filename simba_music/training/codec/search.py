"""Codec search: short runs of equal compute that differ in one factor each."""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

from simba_music.files import read_json, write_atomic, write_json
from simba_music.models.codec import Codec
from simba_music.training.codec.model import CodecShape
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.trainer import train_codec
from simba_music.training.corpus.store import corpus_sample_rate
from simba_music.training.corpus.tokens import codec_ref
from simba_music.training.evaluation.codec import Held, bench_sounds, codec_rows
from simba_music.training.evaluation.round_trips import Judges
from simba_music.training.judges.tagger import load_tagger
from simba_music.training.record import machine

logger = logging.getLogger(__name__)

BASE = CodecPreset()
RUNS: dict[str, CodecPreset] = {
    "base: 24 kHz, 75 Hz, 2048 codes, 16 filters": BASE,
    "50 Hz": replace(BASE, shape=CodecShape(frame_rate=50)),
    "1024 codes": replace(BASE, shape=CodecShape(codes=1024)),
    "4096 codes": replace(BASE, shape=CodecShape(codes=4096)),
    "24 filters": replace(BASE, shape=CodecShape(filters=24)),
    "31 frames of context and an LSTM": replace(BASE, shape=CodecShape(context=31, lstm=True)),
    "all bins alike in the spectral loss": replace(BASE, octave_bins=False),
    "32 kHz, 50 Hz": replace(BASE, shape=CodecShape(sample_rate=32_000, frame_rate=50)),
}


def folder_of(name: str) -> str:
    """Folder name of a run."""
    return "".join(c if c.isalnum() else "-" for c in name.split(":")[0])


def search(corpora: list[Path], out: Path, minutes: float, device: str) -> None:
    """Train every run that is not finished, on whichever corpus has its sample rate."""
    by_rate = {corpus_sample_rate(corpus): corpus for corpus in corpora}
    for name, preset in RUNS.items():
        folder = out / folder_of(name)
        corpus = by_rate.get(preset.shape.sample_rate)
        if (folder / "training.json").exists() or corpus is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        logger.info("run %r", name)
        run = replace(preset, minutes=minutes)
        train_codec([corpus], folder, run, folder / "resume.state", device=device)


METRICS = {  # column of the table: metric of the evaluation
    "log-mel": "log-mel distance (nepers)",
    "STFT": "multi-resolution STFT distance (nepers)",
    "chroma": "chroma cosine",
    "onset F1": "onset F1 (50 ms)",
    "solo pitch": "pitch right (share of voiced frames, solos)",
    "AUC": "instrument AUC (macro)",
    "FAD": "FAD (our tagger's space)",
    "comb dB": "comb at the frame rate, beside the original (dB)",
    "codes used": "codes in use (share)",
    "perplexity": "code perplexity over codes",
}


def _history(folder: Path) -> dict[int, float]:
    """Training log-mel loss of a run by step."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    return {row["step"]: row["mel"] for row in map(json.loads, lines)}


def search_report(out: Path, bench: Path, pieces: int) -> None:
    """Measure every finished run on the frozen benchmark into `search.json` and `search.md`."""
    held, judges, runs = Held(bench_sounds(bench, pieces)), Judges(load_tagger()), {}
    for name, preset in RUNS.items():
        folder = out / folder_of(name)
        if not (folder / "training.json").exists():
            continue
        codec, record = Codec.load(folder, codec_ref(folder)), read_json(folder / "training.json")
        runs[name] = {
            "kbit_s": preset.shape.frame_rate * math.log2(preset.shape.codes) / 1000,
            "minutes": record["minutes"],
            "steps": record["steps"],
            **{row["metric"]: row["value"] for row in codec_rows(name, codec, held, judges)},
        }
    write_json(out / "search.json", {"machine": machine(), "pieces": pieces, "runs": runs})
    write_table(out)


def write_table(out: Path) -> None:
    """`search.md` from `search.json` and the histories of the runs.

    Its last column is the training loss at the last step that every run has reached, as equal
    compute is not equal steps.
    """
    found = read_json(out / "search.json")
    histories = {name: _history(out / folder_of(name)) for name in found["runs"]}
    # Small networks take more steps in the same time, so losses compare at equal steps too.
    step = max(set.intersection(*(set(h) for h in histories.values())))
    columns = ["run", "kbit/s", "steps", *METRICS, f"training log-mel at step {step}"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, run in found["runs"].items():
        values = [f"{run[metric]:.3f}" for metric in METRICS.values()]
        values = [f"{run['kbit_s']:.2f}", str(run["steps"]), *values]
        lines.append(f"| {name} | {' | '.join(values)} | {histories[name][step]:.3f} |")
    minutes = "/".join(dict.fromkeys(f"{run['minutes']:g}" for run in found["runs"].values()))
    lines += ["", f"{minutes} min of compute each; {found['pieces']} pieces of the benchmark."]
    lines.append(f"Measured on {found['machine']}.")
    write_atomic(out / "search.md", ("\n".join(lines) + "\n").encode())
