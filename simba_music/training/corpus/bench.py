"""Benchmark set: held-out scores, captions and facts, frozen so that figures stay comparable."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi

from simba_music.errors import RequestError
from simba_music.training.corpus.build import CAPTION_SEEDS, renderer
from simba_music.training.corpus.captioning.captions import captions
from simba_music.training.corpus.composing.compose import compose_again
from simba_music.training.corpus.rendering.production import Production, produce
from simba_music.training.corpus.store import MANIFEST, Row, check_composed, read_rows, write_rows

ITEMS = "items.jsonl"
SIZE = {"test": 170, "compositional": 30}
LONGEST_S = 30.0


@dataclass(frozen=True)
class BenchItem:
    """One whole piece: score with tracks named `role:instrument`, captions, facts, production."""

    id: str
    split: str
    duration_s: float
    captions: tuple[str, ...]
    facts: dict[str, Any]
    production: Production
    score: pretty_midi.PrettyMIDI

    def render(self, sample_rate: int) -> np.ndarray:
        """Its sound, float32 `[T]` at about -20 LUFS; needs FluidSynth and the soundfonts."""
        sound: np.ndarray = renderer(sample_rate).render(
            self.score, self.production, self.duration_s
        )
        return sound


def freeze(corpus: Path, out: Path) -> None:
    """Write 200 held-out pieces of at most 30 s, 30 of them compositional, spread over `corpus`.

    Raises:
        RequestError: If the corpus has too few, or `out` is frozen already.
    """
    if (out / ITEMS).exists():
        raise RequestError(f"{out} is frozen: figures on it would no longer compare. Use another.")
    (out / "midi").mkdir(parents=True, exist_ok=True)
    check_composed(corpus, "a benchmark")
    rows = list(read_rows(corpus / MANIFEST))
    items: list[Row] = []
    for split, count in SIZE.items():
        whole = [r for r in rows if r["split"] == split and r["duration_s"] <= LONGEST_S]
        if len(whole) < count:
            raise RequestError(f"{corpus} has {len(whole)} {split} pieces of the {count} needed.")
        for i in np.linspace(0, len(whole) - 1, count).astype(int):
            row = whole[i]
            score, plan, _ = compose_again(row)
            score.write(str(out / "midi" / f"{row['id']}.mid"))
            items.append(
                {
                    "id": row["id"],
                    "split": split,
                    "duration_s": row["duration_s"],
                    "captions": captions(row["crops"][0], row["seed"] * CAPTION_SEEDS),
                    "facts": row["crops"][0],
                    "production": asdict(produce(plan)),
                }
            )
    write_rows(out / ITEMS, items)


def read_bench(folder: Path) -> Iterator[BenchItem]:
    """Every item of a frozen set."""
    for row in read_rows(folder / ITEMS):
        yield BenchItem(
            id=row["id"],
            split=row["split"],
            duration_s=row["duration_s"],
            captions=tuple(row["captions"]),
            facts=row["facts"],
            production=Production(**row["production"]),
            score=pretty_midi.PrettyMIDI(str(folder / "midi" / f"{row['id']}.mid")),
        )
