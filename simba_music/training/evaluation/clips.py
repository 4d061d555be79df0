"""Evaluation of clips: captions found again, speed, pictures and samples, beside real pieces."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from simba_music import audio
from simba_music.audio import SAMPLE_RATE, Waveform
from simba_music.generation.clip import Clip
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.service import generate_many
from simba_music.training.corpus.bench import read_bench
from simba_music.training.evaluation.figures import draw_spectrograms
from simba_music.training.evaluation.measures import Row, mean_row, share_row
from simba_music.training.evaluation.report import update_report
from simba_music.training.judges.scorer_data import PHRASE

logger = logging.getLogger(__name__)

CLIPS = 60
LENGTHS_S = (8.0, 16.0)
SPEED_S = 10.0
CANDIDATES = 20
BATCH = 20
SEED = 0


@dataclass(frozen=True)
class HeldOut:
    """One held-out piece: its caption and samples `[T]` at 24 kHz."""

    caption: str
    samples: np.ndarray

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE


def held_out(bench: Path, count: int = CLIPS) -> list[HeldOut]:
    """`count` pieces of 8 to 16 s of the frozen benchmark, spread over it."""
    low, high = LENGTHS_S
    found = [item for item in read_bench(bench) if low <= item.duration_s <= high]
    spread = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    chosen = [found[i] for i in spread]
    return [HeldOut(item.captions[PHRASE], item.render(SAMPLE_RATE)) for item in chosen]


def generated(pipeline: Pipeline, items: list[HeldOut], work: Path) -> dict[str, list[Clip]]:
    """One clip per caption and side, as long as the real one; `work` gets them as WAV files."""
    requests = [
        pipeline.validate(prompt=item.caption, duration_s=item.duration_s, seed=SEED + i, subseed=0)
        for i, item in enumerate(items)
    ]
    clips: dict[str, list[Clip]] = {}
    for side in SIDES:
        made = list(generate_many(pipeline, requests, side, BATCH))
        logger.info("%s: %d clips", side, len(made))
        name = pipeline.names()[side]
        (work / name).mkdir(parents=True, exist_ok=True)
        for i, clip in enumerate(made):
            audio.write(work / name / f"{i:02d}.wav", clip.waveform)
        clips[name] = made
    return clips


def _sources(
    pipeline: Pipeline, items: list[HeldOut], clips: dict[str, list[Clip]]
) -> dict[str, list[Waveform]]:
    """The clips of every system that is scored, by name."""
    left = pipeline.models["left"]
    codec, books = left.codec, left.lm.config.n_codebooks
    originals = [Waveform(torch.from_numpy(i.samples)[None], SAMPLE_RATE) for i in items]
    trips = [codec.decode(codec.encode(wave, books))[0] for wave in originals]
    return {name: [c.waveform for c in made] for name, made in clips.items()} | {
        "codec round trip of the real piece": trips,
        "real piece": originals,
    }


def clips_table(
    pipeline: Pipeline,
    items: list[HeldOut],
    clips: dict[str, list[Clip]],
    sources: dict[str, list[Waveform]],
) -> list[Row]:
    """Is the right caption among the first 5 of 20? Chance is 25 %."""
    assert pipeline.scorer is not None
    scorer, rng = pipeline.scorer, np.random.default_rng(SEED)
    text = scorer.embed_prompts([item.caption for item in items])
    others = [
        rng.choice([j for j in range(len(items)) if j != i], CANDIDATES - 1, replace=False)
        for i in range(len(items))
    ]
    rows = []
    for name, waves in sources.items():
        hits = 0
        for i, wave in enumerate(waves):
            vector = scorer.embed_wave(wave)
            own = float(text[i] @ vector)
            hits += int((text[others[i]] @ vector > own).sum()) < 5
        rows.append(share_row("right prompt in the top 5 of 20", name, hits, len(waves)))
    for name, made in clips.items():
        cosines = [c.score.cosine for c in made if c.score and c.score.cosine is not None]
        rows.append(mean_row("alignment (cosine)", name, cosines))
    return rows


def speed_table(pipeline: Pipeline) -> list[Row]:
    """Seconds of audio a second, one prompt at a time with guidance, codec included."""
    rows = []
    for side in SIDES:
        request = pipeline.validate(
            prompt="calm solo piano, slow, sad", duration_s=SPEED_S, subseed=0
        )
        speeds = [
            event.times_real_time
            for _ in range(4)
            for event in pipeline.generate(request, (side,))
            if isinstance(event, Clip)
        ]
        # Without the first, which pays for caches and lazy set-up.
        rows.append(mean_row("seconds of audio per second", pipeline.names()[side], speeds[1:]))
    return rows


def write_samples(
    sources: dict[str, list[Waveform]], captions: list[str], folder: Path, count: int = 3
) -> None:
    """The first `count` captions by every system as Ogg files, and what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Samples", "", "Written by `simba-music evaluate`, not chosen: the first captions."]
    for i, caption in enumerate(captions[:count]):
        lines += ["", f"{i + 1}. {caption}", ""]
        for name, waves in sources.items():
            file = f"{i + 1}-{name.replace(' ', '-')}.ogg"
            audio.write_ogg(folder / file, audio.normalise(waves[i])[0])
            lines.append(f"   - [{name}]({file})")
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def evaluate_clips(pipeline: Pipeline, bench: Path, report: Path, work: Path) -> None:
    """Fill the report's tables `clips` and `speed`; draw and keep some of the clips."""
    items = held_out(bench)
    clips = generated(pipeline, items, work)
    sources, captions = _sources(pipeline, items, clips), [item.caption for item in items]
    tables = {
        "clips": clips_table(pipeline, items, clips, sources),
        "speed": speed_table(pipeline),
    }
    docs = report.parent.parent / "docs"
    draw_spectrograms(sources, captions, docs / "spectrograms.png")
    write_samples(sources, captions, docs / "samples")
    update_report(report, tables, pipeline.weights())
