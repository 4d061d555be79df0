"""Tagger: which instruments sound in a window; its embedding is the space of our FAD."""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pretty_midi
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from simba_music.errors import RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.hub.places import BUNDLED, CONFIG, WEIGHTS
from simba_music.models.checkpoint import read_module, save_module
from simba_music.scoring.bundled import ConvTower, LogMel, TowerConfig
from simba_music.training.corpus.composing.compose import compose_again
from simba_music.training.corpus.store import (
    check_composed,
    corpus_sample_rate,
    piece_audio,
    rendered_hours,
    to_float,
)
from simba_music.training.corpus.tables import instruments
from simba_music.training.record import write_training_record

logger = logging.getLogger(__name__)

WINDOW_S = 5.0
# A beat at 150 bpm: a stray note makes no instrument of the window.
HEARD_S = 0.4  # an instrument counts if it sounds for so long in a window


class TaggerConfig(TowerConfig):
    """Shape of the tagger (config.json)."""

    labels: tuple[str, ...]


@dataclass(frozen=True)
class TaggerPreset:
    """Schedule of the tagger."""

    steps: int = 1500
    batch: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    channels: tuple[int, ...] = (32, 64, 96, 128)
    width: int = 128
    seed: int = 0


PRESETS = {"cpu": TaggerPreset(), "gpu": TaggerPreset(steps=8000, batch=256)}


class Tagger(nn.Module):
    """Convolutions on log-mel windows: an embedding, and a logit an instrument."""

    def __init__(self, config: TaggerConfig):
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.sample_rate, config.fft, config.hop, config.mels)
        self.convolutions = ConvTower(config.channels, config.mels)
        self.embedding = nn.Linear(self.convolutions.width, config.width)
        self.head = nn.Linear(config.width, len(config.labels))

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings `[B, E]` and logits `[B, L]` of log-mels `[B, M, frames]`."""
        embedded = self.embedding(self.convolutions(log_mel))
        return embedded, self.head(F.gelu(embedded))

    @torch.no_grad()
    def listen(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings `[W, E]` and probabilities `[W, L]` of the whole windows of `[T]`."""
        size = round(WINDOW_S * self.config.sample_rate)
        count = max(1, len(samples) // size)
        windows = np.resize(samples, count * size).reshape(count, size)
        embedded, logits = self(self.log_mel(torch.from_numpy(windows).float()))
        return embedded.numpy(), logits.sigmoid().numpy()


def load_tagger(folder: Path = BUNDLED / "tagger") -> Tagger:
    """The tagger of a folder, strictly.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    config = TaggerConfig.model_validate(read_json(folder / CONFIG))
    return read_module(lambda: Tagger(config), folder).eval().requires_grad_(False)


def tagger_weights(folder: Path = BUNDLED / "tagger") -> dict[str, str]:
    """Digest of a tagger's weights by name, for a report."""
    return {folder.name: sha256(folder / WEIGHTS)}


def window_labels(score: pretty_midi.PrettyMIDI, labels: tuple[str, ...], seconds: float) -> Tensor:
    """Which instruments sound in each whole window of a piece, bool `[W, L]`."""
    count = max(1, int(seconds // WINDOW_S))
    found = torch.zeros(count, len(labels), dtype=torch.bool)
    for part in score.instruments:
        column = labels.index(part.name.split(":")[1])
        for w in range(count):
            start, end = w * WINDOW_S, (w + 1) * WINDOW_S
            spans = [min(n.end, end) - max(n.start, start) for n in part.notes]
            if sum(span for span in spans if span > 0) >= HEARD_S:
                found[w, column] = True
    return found


def tagger_config(preset: TaggerPreset, sample_rate: int) -> TaggerConfig:
    """Config of the bundled tagger: a label an instrument, and the drum kit."""
    return TaggerConfig.model_validate(
        {
            "schema": 1,
            "sample_rate": sample_rate,
            "fft": 1024,
            "hop": sample_rate // 50,
            "mels": 64,
            "channels": preset.channels,
            "width": preset.width,
            "labels": (*sorted(instruments()), "drum kit"),
        }
    )


def _windows(model: Tagger, corpus: Path, splits: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Log-mels `[N, M, F]` float16 and labels `[N, L]` of every whole window of some splits."""
    mels, labels = [], []
    size = round(WINDOW_S * model.config.sample_rate)
    for row, samples in piece_audio(corpus):
        if row["split"] not in splits or len(samples) < size:
            continue
        sound = torch.from_numpy(to_float(samples[: len(samples) // size * size]))
        mels.append(model.log_mel(sound.view(-1, size)).half())
        labels.append(window_labels(compose_again(row)[0], model.config.labels, row["duration_s"]))
    if not mels:
        raise RequestError(
            f"{corpus} has no rendered pieces of {WINDOW_S:g} s in the split {splits[0]}; render "
            "more."
        )
    return torch.cat(mels), torch.cat(labels)


def macro_auc(labels: np.ndarray, scores: np.ndarray, least: int = 5) -> float:
    """Mean area under the ROC curve over labels with at least `least` positives; both `[N, L]`.

    nan if there is no such label.
    """
    # The area of a label with a handful of positives is mostly noise, without any it is undefined.
    kept = (labels.sum(0) >= least) & (labels.sum(0) < len(labels))
    if not kept.any():
        return float("nan")
    return float(roc_auc_score(labels[:, kept], scores[:, kept], average="macro"))


@torch.no_grad()
def _validate(model: Tagger, mels: Tensor, labels: Tensor) -> float:
    model.eval()
    logits = torch.cat([model(part.float())[1] for part in mels.split(128)])
    model.train()
    return macro_auc(labels.numpy(), logits.numpy())


def train_tagger(corpus: Path, out: Path, preset: TaggerPreset) -> None:
    """Train on the true audio of a rendered, composed corpus; write it with its held-out AUC."""
    torch.manual_seed(preset.seed)
    started = time.monotonic()
    check_composed(corpus, "the tagger")
    config = tagger_config(preset, corpus_sample_rate(corpus))
    model = Tagger(config)
    mels, labels = _windows(model, corpus, ("train",))
    held = _windows(model, corpus, ("valid", "test"))
    logger.info("%d windows to train on, %d held out", len(mels), len(held[0]))
    optimiser = torch.optim.AdamW(
        model.train().parameters(), preset.learning_rate, weight_decay=preset.weight_decay
    )
    generator, auc = torch.Generator().manual_seed(preset.seed), 0.0
    for step in range(preset.steps):
        warm = min(1.0, (step + 1) / 50)
        cosine = 0.5 * (1 + math.cos(math.pi * step / preset.steps))
        for group in optimiser.param_groups:
            group["lr"] = preset.learning_rate * warm * (0.02 + 0.98 * cosine)
        picks = torch.randint(len(mels), (preset.batch,), generator=generator)
        _, logits = model(mels[picks].float())
        # A sigmoid a label, as any number of instruments sound at once.
        loss = F.binary_cross_entropy_with_logits(logits, labels[picks].float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 250 == 249 or step == preset.steps - 1:
            auc = _validate(model, *held)
            logger.info("step %d loss %.4f held-out AUC %.4f", step + 1, float(loss.detach()), auc)
    out.mkdir(parents=True, exist_ok=True)
    save_module(out, model.eval())
    write_json(out / CONFIG, config.model_dump(by_alias=True))
    write_training_record(
        out,
        stage="tagger",
        steps=preset.steps,
        seconds=time.monotonic() - started,
        device="cpu",
        corpora=[corpus],
        preset=asdict(preset),
        rendered_hours=rendered_hours(corpus),
        held_out_macro_auc=round(auc, 4),
        held_out_windows=len(held[0]),
    )
