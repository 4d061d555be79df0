"""Scorer evaluation: does it find the right caption, and does it prefer the true fact?"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simba_music.audio import SAMPLE_RATE, Waveform
from simba_music.models.codec import Codec
from simba_music.scoring.score import Scorer
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.captioning.contrast import KINDS, contrasts
from simba_music.training.corpus.captioning.speaker import Facts
from simba_music.training.evaluation.measures import Row, in_order, share_row
from simba_music.training.evaluation.report import update_report

logger = logging.getLogger(__name__)

CANDIDATES = 100
TOPS = (1, 5, 10)
PHRASE = 2  # which of a piece's captions is the phrase
DRAWS = 4  # contrasts of each kind a piece, in other words each
SEED = 0


@dataclass(frozen=True)
class Piece:
    """A held-out piece: its sound, its caption and its facts."""

    wave: Waveform
    caption: str
    facts: Facts


def distinct(facts: Sequence[Facts]) -> list[int]:
    """Indices of the first pieces of each set of genre, instruments, tempo word and mood."""
    seen: dict[tuple[str, ...], int] = {}
    for i, fact in enumerate(facts):
        # Two pieces with the same facts have captions that fit both: to prefer either is no
        # mistake.
        key = (fact["genre"], *fact["instruments"], fact["tempo_word"], fact["mood"])
        seen.setdefault(key, i)
    return sorted(seen.values())


def bench_pieces(folder: Path) -> list[Piece]:
    """Pieces of the frozen benchmark with distinct facts; rendering needs FluidSynth."""
    items = list(read_bench(folder))
    return [
        Piece(
            Waveform(torch.from_numpy(items[i].render(SAMPLE_RATE))[None], SAMPLE_RATE),
            items[i].captions[PHRASE],
            items[i].facts,
        )
        for i in distinct([item.facts for item in items])
    ]


def retrieval_rows(name: str, audio: Tensor, text: Tensor) -> list[Row]:
    """Recall at 1, 5 and 10 of 100: audio `[N, E]` among the captions `[N, E]` of 100 pieces.

    Each piece meets 99 others, drawn with a fixed seed.
    """
    rng, count = np.random.default_rng(SEED), len(audio)
    candidates = min(CANDIDATES, count)
    ranks = []
    for i in range(count):
        # Of 100 whatever the set's size, as recall falls with the number of candidates.
        others = rng.choice([j for j in range(count) if j != i], candidates - 1, replace=False)
        ranks.append(int((text[others] @ audio[i] > text[i] @ audio[i]).sum()))
    return [
        share_row(
            f"right caption in the top {top} of {candidates}",
            name,
            sum(rank < top for rank in ranks),
            count,
        )
        for top in TOPS
    ]


def fact_rows(name: str, scorer: Scorer, audio: Tensor, facts: Sequence[Facts]) -> list[Row]:
    """Share of contrasts in which the true caption scores above the false one; chance is 50 %."""
    rng = random.Random(SEED)
    hits = {kind: list[bool]() for kind in KINDS}
    for vector, fact in zip(audio, facts, strict=True):
        for _ in range(DRAWS):
            for contrast in contrasts(fact, rng):
                true, false = scorer.embed_prompts([contrast.true, contrast.false]) @ vector
                hits[contrast.kind].append(bool(true > false))
    return [
        share_row(f"prefers the true {kind}", name, sum(found), len(found))
        for kind, found in hits.items()
        if found
    ]


def evaluate_scorer(scorer: Scorer, codec: Codec, bench: Path, report: Path) -> None:
    """Fill the report's table `scorer`: true audio, and the same through the codec.

    Args:
        scorer: the scorer.
        codec: through which generated clips come.
        bench: frozen benchmark.
        report: REPORT.json.
    """
    pieces = bench_pieces(bench)
    text = scorer.embed_prompts([piece.caption for piece in pieces])
    facts, rows = [piece.facts for piece in pieces], list[Row]()
    sources = {
        "true audio": [piece.wave for piece in pieces],
        "codec round trip": [codec.decode(codec.encode(piece.wave))[0] for piece in pieces],
    }
    for name, waves in sources.items():
        audio = torch.stack([scorer.embed_wave(wave) for wave in waves])
        rows += retrieval_rows(name, audio, text) + fact_rows(name, scorer, audio, facts)
        logger.info("%s: %s", name, {row["metric"]: row["value"] for row in rows})
    weights = {"scorer": scorer.revision} | codec.ref.weights
    update_report(report, {"scorer": in_order(rows)}, weights)
