"""Codec search: short runs of equal compute that differ in one factor each."""

import logging
from dataclasses import replace
from pathlib import Path

from simba_music.training.codec_model import CodecShape
from simba_music.training.codec_trainer import PRESETS, CodecPreset, train_codec
from simba_music.training.corpus.store import corpus_sample_rate

logger = logging.getLogger(__name__)

BASE = PRESETS["cpu"]
RUNS: dict[str, CodecPreset] = {
    "base: 24 kHz, 50 Hz, 2048 codes, 16 filters": BASE,
    "no waveform loss after the warm-up": replace(BASE, waveform_weight=0.0),
    "75 Hz": replace(BASE, shape=CodecShape(frame_rate=75)),
    "trained LSTM": replace(BASE, shape=CodecShape(lstm=True)),
    "4096 codes": replace(BASE, shape=CodecShape(codes=4096)),
    "1024 codes": replace(BASE, shape=CodecShape(codes=1024)),
    "24 filters": replace(BASE, shape=CodecShape(filters=24)),
    "32 kHz": replace(BASE, shape=CodecShape(sample_rate=32_000)),
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
        train_codec(corpus, folder, run, folder / "resume.state", device=device)
