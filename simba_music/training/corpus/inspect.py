"""Inspect: a page of counts, pictures, captions and players for a corpus."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any

import librosa
import matplotlib
import numpy as np
import torch

from simba_music import audio
from simba_music.audio import SAMPLE_RATE, Waveform
from simba_music.files import write_atomic
from simba_music.training.corpus.build import render_piece
from simba_music.training.corpus.composing.compose import compose_again
from simba_music.training.corpus.store import (
    AUDIO,
    CAPTIONS,
    MANIFEST,
    Row,
    corpus_sample_rate,
    piece_audio,
    read_rows,
    to_float,
)

PIECES = 10
_ROLE_COLOURS = {
    "melody": "tab:red", "counter": "tab:orange", "chords": "tab:blue", "arpeggio": "tab:cyan",
    "pad": "tab:purple", "bass": "tab:green", "drums": "tab:gray",
}  # fmt: skip
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
main>div{columns:16rem}table{border-collapse:collapse;width:100%;margin-bottom:1rem}
td,th{padding:.1rem .6rem;text-align:left;border-bottom:1px solid #ddd}
td:nth-child(n+2),th:nth-child(n+2){text-align:right}img{max-width:100%}audio{width:100%}
section{margin-top:2rem;border-top:2px solid #333}"""


def _tables(rows: list[Row]) -> str:
    kinds: dict[str, Callable[[Row], Iterable[str]]] = {
        "split": lambda r: [r["split"]],
        "genre": lambda r: [r["genre"]] if "genre" in r else [],
        "instrument": lambda r: sorted(set(r.get("lineup", {}).values())),
        "tempo (bpm)": lambda r: [f"{r['tempo'] // 20 * 20:03d}+"] if "tempo" in r else [],
        "key": lambda r: [r["key"]] if "key" in r else [],
        "mode": lambda r: [r["mode"]] if "mode" in r else [],
        "metre": lambda r: [r["metre"]] if "metre" in r else [],
        "players": lambda r: [str(len(r["lineup"]))] if "lineup" in r else [],
        "licence": lambda r: [r["licence"]] if "licence" in r else [],
    }
    out = []
    for title, names in kinds.items():
        counts: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        for row in rows:
            for name in names(row):
                counts[name][0] += 1
                counts[name][1] += row["duration_s"] / 3600
        if not counts:
            continue
        by_size = title in ("genre", "instrument", "licence")
        order = sorted(counts.items(), key=lambda kv: (-kv[1][0], kv[0]) if by_size else kv[0])
        body = "".join(
            f"<tr><td>{escape(name)}</td><td>{n:.0f}</td><td>{h:.2f}</td></tr>"
            for name, (n, h) in order
        )
        out.append(f"<table><tr><th>{title}</th><th>pieces</th><th>hours</th></tr>{body}</table>")
    return "".join(out)


def _draw(row: Row, samples: np.ndarray, rate: int, path: Path) -> None:
    """Piano roll (of a composed piece) above the spectrogram."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (roll, spectrum) = pyplot.subplots(2, figsize=(11, 5), dpi=80, sharex=True)
    if "seed" in row:
        for part in compose_again(row)[0].instruments:
            role, name = part.name.split(":")
            notes = part.notes
            roll.barh(
                [n.pitch for n in notes],
                [n.end - n.start for n in notes],
                left=[n.start for n in notes],
                color=_ROLE_COLOURS[role],
                label=f"{role}: {name}",
                height=0.9,
            )
        roll.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        roll.set_ylabel("MIDI pitch")
    for crop in row["crops"]:
        roll.axvline(crop["start_s"], color="black", linewidth=0.7, linestyle=":")
    level = librosa.amplitude_to_db(np.abs(librosa.stft(samples, n_fft=1024)), ref=np.max)
    top = rate / 2000
    spectrum.imshow(
        level, origin="lower", aspect="auto", extent=(0, len(samples) / rate, 0, top), vmin=-75
    )
    spectrum.set(xlabel="s", ylabel="kHz")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _piece(row: Row, samples: np.ndarray, rate: int, texts: list[list[str]], folder: Path) -> str:
    name = "".join(c if c.isalnum() else "-" for c in row["id"])
    _draw(row, samples, rate, folder / f"{name}.png")
    audio.write_ogg(folder / f"{name}.ogg", Waveform(torch.from_numpy(samples)[None], rate))
    facts = {k: v for k, v in row.items() if k not in ("crops", "form", "shard", "lineup")}
    facts |= row.get("lineup", {})
    crops = "".join(
        f"<li>{crop['start_s']:g} to {crop['end_s']:g} s<ul>"
        + "".join(f"<li>{escape(text)}</li>" for text in captions)
        + "</ul></li>"
        for crop, captions in zip(row["crops"], texts, strict=True)
    )
    details = escape(", ".join(f"{k}: {v}" for k, v in facts.items()))
    return (
        f"<section><h2>{escape(row['id'])}</h2><p>{details}</p>"
        f'<audio controls preload="none" src="{folder.name}/{name}.ogg"></audio>'
        f'<img alt="piano roll and spectrogram" loading="lazy" src="{folder.name}/{name}.png">'
        f"<ol>{crops}</ol></section>"
    )


def _sounds(corpus: Path, rows: list[Row]) -> dict[str, np.ndarray]:
    """float32 samples of some pieces; composed ones are rendered if the corpus kept no audio."""
    wanted = {row["id"] for row in rows}
    found: dict[str, Any] = {}
    if (corpus / AUDIO).exists():
        found = {
            row["id"]: to_float(samples)
            for row, samples in piece_audio(corpus)
            if row["id"] in wanted
        }
    rate = corpus_sample_rate(corpus) if found else SAMPLE_RATE
    for row in rows:
        if row["id"] not in found:
            found[row["id"]] = to_float(render_piece(row, rate))
    return found


def write_page(corpus: Path, seed: int = 0) -> None:
    """Write `inspect.html` and, in `inspect/`, pictures and sound of ten random pieces."""
    rows = list(read_rows(corpus / MANIFEST))
    picked = random.Random(seed).sample(rows, min(PIECES, len(rows)))
    captions: dict[str, list[list[str]]] = {row["id"]: [[] for _ in row["crops"]] for row in picked}
    if (corpus / CAPTIONS).exists():
        captions |= {row["id"]: row["captions"] for row in read_rows(corpus / CAPTIONS)}
    folder = corpus / "inspect"
    folder.mkdir(exist_ok=True)
    sounds = _sounds(corpus, picked)
    rate = corpus_sample_rate(corpus, SAMPLE_RATE)
    hours = sum(row["duration_s"] for row in rows) / 3600
    pieces = "".join(_piece(r, sounds[r["id"]], rate, captions[r["id"]], folder) for r in picked)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Corpus {escape(corpus.name)}</title><style>{_STYLE}</style>"
        f"<h1>Corpus {escape(corpus.name)}</h1>"
        f"<p>{len(rows)} pieces, {hours:.2f} h, "
        f"{sum(len(r['crops']) for r in rows)} crops.</p>"
        f"<main><div>{_tables(rows)}</div>{pieces}</main></html>"
    )
    write_atomic(corpus / "inspect.html", page.encode())
