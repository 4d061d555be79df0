"""Convergence: the paper's experiment, several architectures and seeds on the same batches."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from simba_music.audio import SAMPLE_RATE, resample
from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.generation.decoding import generate
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.hub.places import BUNDLED, WEIGHTS
from simba_music.models.checkpoint import load_language_model
from simba_music.models.codec import Codec
from simba_music.models.text_encoder import TextEncoder
from simba_music.scoring.loading import load_scorer
from simba_music.scoring.score import Scorer
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.tokens import MINILM, codebooks_of, codec_ref
from simba_music.training.evaluation.adherence import Asked, adherence, listen, make_asked
from simba_music.training.evaluation.distances import kernel_distance
from simba_music.training.evaluation.measures import Row
from simba_music.training.evaluation.prompts import embed_clips
from simba_music.training.experiments.convergence_report import Runs, summary
from simba_music.training.judges.tagger import load_tagger
from simba_music.training.lm.preset import ARCHITECTURES, LMPreset
from simba_music.training.lm.trainer import train_lm

logger = logging.getLogger(__name__)

COMPARED = (
    "simba-mlp-prefix",
    "simba-einfft-prefix",
    "mamba-prefix",
    "transformer-prefix",
    "simba-mlp-cross",
    "transformer-cross",
)
CLIPS, CLIP_S, BATCH = 128, 5.0, 64
# Of every run, whatever the app's become.
SAMPLING: dict[str, Any] = {"guidance": 5.0, "temperature": 1.1, "top_k": 100}
MEASURED = 3  # steps at which clips are made by default, the last of them the end
CLIP_FILE = "clips.json"
# Nats, the mean over the validations: further apart, two trainings of a run are not the same. At a
# single one rounding to bfloat16 on another processor alone makes up to 0.10.
SAME_LOSS = 0.1


@dataclass(frozen=True)
class Plan:
    """What every run of an experiment shares, and where its files lie.

    `known` are the figures of an earlier run of it, as `convergence_report.draw` wrote them.
    """

    corpus: Path
    codec: Path
    out: Path
    bench: Path
    preset: LMPreset
    clips: int = CLIPS
    count: int = MEASURED
    known: Path | None = None

    def folder(self, name: str, seed: int) -> Path:
        """Files of a run."""
        return self.out / f"{name}-seed{seed}"

    @property
    def measured(self) -> tuple[int, ...]:
        """Steps at which clips are made, the end and `count - 1` snapshots before it."""
        return (*self.preset.snapshots, self.preset.steps)[-self.count :]

    def known_run(self, name: str, seed: int) -> dict[str, Any] | None:
        """History and clips' figures of a run that was made before, None if it was not."""
        runs = read_json(self.known).get(name, []) if self.known else []
        return runs[seed] if seed < len(runs) else None


def _tagger_digest() -> str:
    return sha256(BUNDLED / "tagger" / WEIGHTS)[:8]


def _unmeasured(plan: Plan, found: dict[str, Any]) -> list[int]:
    """Steps that lack clips' figures by the tagger that is bundled, the last first."""
    tagger = _tagger_digest()
    return [s for s in reversed(plan.measured) if found.get(str(s), {}).get("tagger") != tagger]


def _train(plan: Plan, name: str, seed: int) -> None:
    """One training, in a process of its own, on one thread; goes on where it was stopped.

    A known one is trained again as far as its clips are to be measured, and not at all if they
    have been.

    Raises:
        RequestError: If its losses are on average not those that are known.
    """
    torch.set_num_threads(1)
    folder, known = plan.folder(name, seed), plan.known_run(name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    last, done = plan.preset.steps, folder / "training.json"
    if known:
        if not (folder / CLIP_FILE).exists():
            write_json(folder / CLIP_FILE, known["clips"])
        found = read_json(folder / CLIP_FILE)
        last = max(_unmeasured(plan, found), default=0)
    if last == 0 or (done.exists() and read_json(done)["steps"] >= last):
        return
    preset = replace(plan.preset, seed=seed)
    ref, codes = codec_ref(plan.codec), codebooks_of(plan.codec)
    train_lm(plan.corpus, folder, ARCHITECTURES[name], preset, ref, codes, limit_steps=last)
    expected = {row["step"]: row["valid"] for row in known["history"]} if known else {}
    apart = [
        row["valid"] - expected[row["step"]] for row in _history(folder) if row["step"] in expected
    ]
    if apart and abs(np.mean(apart)) > SAME_LOSS:
        raise RequestError(
            f"{folder} is another training than the one in {plan.known}: on average its losses "
            f"lie {np.mean(apart):+.2f} nats a token from those. Use its corpus, codec and preset, "
            "or leave out --known."
        )


def _make_clips(
    folder: Path, codec: Codec, encoder: TextEncoder, asked: Sequence[Asked]
) -> list[np.ndarray]:
    """A clip `[T]` at 24 kHz for every prompt; clip i has seed i in every run."""
    model, _ = load_language_model(str(folder))
    engine = ReferenceEngine(model)
    requests = [
        Request(one.prompt.text, duration_s=CLIP_S, seed=i, **SAMPLING)
        for i, one in enumerate(asked)
    ]
    made = []
    for start in range(0, len(requests), BATCH):
        blocks = list(generate(engine, model.config, encoder, requests[start : start + BATCH]))
        for codes in torch.cat(blocks, dim=-1):
            (wave,) = codec.decode(codes[None])
            made.append(resample(wave, SAMPLE_RATE).samples[0].numpy())
    return made


def _measure(plan: Plan, name: str, seed: int, scorer_name: str) -> None:
    """Adherence, alignment and KAD of a run's snapshots, each written once it is known."""
    torch.set_num_threads(1)
    folder = plan.folder(name, seed)
    path = folder / CLIP_FILE
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    asked = make_asked(list(read_bench(plan.bench)))[: plan.clips]
    codec, encoder = Codec.load(plan.codec, codec_ref(plan.codec)), TextEncoder.load(MINILM)
    tagger, scorer = load_tagger(), load_scorer(scorer_name)
    reference = np.load(_reference(plan))
    for step in _unmeasured(plan, found):
        last = step == plan.preset.steps
        clips = _make_clips(
            folder if last else folder / "snapshots" / str(step), codec, encoder, asked
        )
        found[str(step)] = _figures(asked, clips, tagger, scorer, reference)
        write_json(path, found)


def _figures(
    asked: Sequence[Asked], clips: list[np.ndarray], tagger: Any, scorer: Scorer, real: np.ndarray
) -> dict[str, Any]:
    heard = [tagger.listen(clip) for clip in clips]
    tags = np.stack([found.mean(0) for _, found in heard])
    labels = tagger.config.labels
    fits = adherence(asked, listen(clips, tags, labels), labels)
    text = scorer.embed_prompts([one.prompt.text for one in asked])
    audio = embed_clips(scorer, clips)
    return {
        "instruments": float(np.nanmean(fits["instruments"])),
        "drums": float(np.nanmean(fits["drums"])),
        "alignment": float((audio * text).sum(-1).mean()),
        "kad": kernel_distance(np.concatenate([vectors for vectors, _ in heard]), real),
        "tagger": _tagger_digest(),
    }


def _reference(plan: Plan) -> Path:
    return plan.out / f"reference-{_tagger_digest()}.npy"


def _write_reference(plan: Plan) -> None:
    """Embeddings `[W, E]` of the middles of the benchmark's pieces, which KAD compares with."""
    if _reference(plan).exists():
        return
    pieces, tagger = {item.id: item for item in read_bench(plan.bench)}, load_tagger()
    vectors = []
    for one in make_asked(list(pieces.values()))[: plan.clips]:
        start = round(one.start_s * SAMPLE_RATE)
        sound = pieces[one.piece_id].render(SAMPLE_RATE)[start : start + 10 * SAMPLE_RATE]
        vectors.append(tagger.listen(sound)[0])
    np.save(_reference(plan), np.concatenate(vectors))


def _history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def read_runs(plan: Plan, seeds: int) -> Runs:
    """For every architecture, what each seed gave: `history`, and figures by measured step."""
    found: Runs = {}
    for name in COMPARED:
        found[name] = []
        for seed in range(seeds):
            folder, known = plan.folder(name, seed), plan.known_run(name, seed)
            history = known["history"] if known else _history(folder)
            found[name].append({"history": history, "clips": read_json(folder / CLIP_FILE)})
    return found


def run_convergence(
    plan: Plan, seeds: int, workers: int, scorer: str
) -> tuple[list[Row], list[str], Runs]:
    """Train and measure what is missing, then sum it up.

    Returns:
        Report rows, verdicts, and every run's figures.

    Raises:
        RequestError: If there are too few seeds for an interval, or too few snapshots.
    """
    if seeds < 2:
        raise RequestError("An interval over seeds needs at least 2 of them; 3 or more are wanted.")
    if len(plan.measured) < plan.count:
        raise RequestError(f"The preset needs {plan.count - 1} snapshots before its last step.")
    jobs = [(name, seed) for seed in range(seeds) for name in COMPARED]
    plan.out.mkdir(parents=True, exist_ok=True)
    _write_reference(plan)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for what, work in (
            ("trainings", [(_train, job) for job in jobs]),
            ("measurements", [(_measure, (*job, scorer)) for job in jobs]),
        ):
            waiting = [pool.submit(function, plan, *job) for function, job in work]
            for job in tqdm(waiting, desc=what, unit="run", disable=None):
                job.result()
    runs = read_runs(plan, seeds)
    steps = (*plan.preset.snapshots, plan.preset.steps)
    return *summary(runs, steps, plan.measured), runs
