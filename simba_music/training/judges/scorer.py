"""Scorer training: contrastive, on originals and on codec round trips, from the composed corpus."""

import logging
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simba_music.audio import SAMPLE_RATE
from simba_music.conditioning.text import mean_states
from simba_music.errors import RequestError
from simba_music.files import write_json
from simba_music.hub.places import CONFIG
from simba_music.models.checkpoint import save_module
from simba_music.models.codec import Codec
from simba_music.models.text_encoder import TextEncoder
from simba_music.scoring.bundled import ScorerConfig, ScorerModel, save_null_prompts
from simba_music.scoring.score import WINDOW_S
from simba_music.training.corpus.captioning.contrast import contrasts
from simba_music.training.corpus.store import corpus_sample_rate, crop_audio, piece_audio
from simba_music.training.corpus.tokens import MINILM, TokenCorpus
from simba_music.training.record import write_training_record

logger = logging.getLogger(__name__)

KIND = "simba-music scorer, trained on our own corpus, not LAION CLAP"
NULL_PROMPTS = 200
CAPTION_DRAWS = 60  # divisible by every number of captions up to 6
PHRASE = 2  # which of a crop's captions is a phrase


@dataclass(frozen=True)
class ClapPreset:
    """Schedule of the scorer; crops of 4 to 10 s, half of each batch through the codec."""

    steps: int = 900
    round_trips: int = 600  # pieces that pass through the codec, the others stay as they are
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    channels: tuple[int, ...] = (32, 64, 128, 192)
    width: int = 256
    contrast_weight: float = 0.5  # of the loss on captions with one fact wrong
    seed: int = 0


PRESETS = {"cpu": ClapPreset(), "gpu": ClapPreset(steps=6000, round_trips=50_000, batch=512)}


def scorer_config(preset: ClapPreset) -> ScorerConfig:
    """Config of the bundled scorer."""
    return ScorerConfig.model_validate(
        {
            "schema": 1,
            "kind": KIND,
            "sample_rate": SAMPLE_RATE,
            "fft": 1024,
            "hop": 480,
            "mels": 64,
            "channels": preset.channels,
            "width": preset.width,
            "text_encoder": MINILM.model_dump(),
        }
    )


@torch.no_grad()
def _log_mels(
    corpus: TokenCorpus, corpus_dir: Path, model: ScorerModel, codec: Codec, split: str, trips: int
) -> tuple[dict[int, Tensor], set[int]]:
    """Log-mel `[M, frames]` float16 of every crop; every second through the codec, up to `trips`.

    Returns:
        The log-mels by number of the crop, and which crops went through the codec.
    """
    numbers = {(crop.piece, crop.number): i for i, crop in enumerate(corpus.crops)}
    mels, through = dict[int, Tensor](), set[int]()
    for row, samples in piece_audio(corpus_dir):
        if row["split"] != split:
            continue
        for k, sound in enumerate(crop_audio(row, samples, corpus_sample_rate(corpus_dir))):
            index = numbers.get((row["id"], k))
            if index is None:  # without a caption
                continue
            wave = torch.from_numpy(sound)
            # Clips come out of the codec: a scorer of originals alone would score how they sound,
            # not what they play.
            if index % 2 and len(through) < trips:
                through.add(index)
                codes = torch.from_numpy(corpus.example(index, 0).codes)
                wave = codec.decode(codes[None])[0].samples[0]
            mels[index] = model.log_mel(wave[None])[0].half()
    return mels, through


def _batch(
    corpus: TokenCorpus, mels: dict[int, Tensor], picks: np.ndarray, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    """Log-mels `[B, M, F]` and mean text states `[B, D]`; no rng means the whole crop."""
    rate = SAMPLE_RATE / 480
    seconds = WINDOW_S if rng is None else rng.uniform(4, WINDOW_S)
    frames = round(seconds * rate)
    audio, text = [], []
    for index in picks:
        mel = mels[int(index)]
        if mel.shape[1] < frames:
            # Repeated, not padded: silence would say that the music stops.
            mel = mel.repeat(1, math.ceil(frames / mel.shape[1]))
        start = 0 if rng is None else int(rng.integers(mel.shape[1] - frames + 1))
        audio.append(mel[:, start : start + frames])
        caption = PHRASE if rng is None else int(rng.integers(CAPTION_DRAWS))
        text.append(corpus.states(int(index), caption).mean(0))
    return torch.stack(audio).float(), torch.from_numpy(np.stack(text))


class Contrasts:
    """For every crop, mean text states of captions that are true and of such with one fact wrong.

    They are short captions, so they also teach what a part of the facts sounds like.
    """

    def __init__(self, corpus: TokenCorpus, encoder: TextEncoder, seed: int):
        rng = random.Random(seed)
        self.pairs = [
            [(c.true, c.false) for c in contrasts(crop.facts, rng)] if "genre" in crop.facts else []
            for crop in corpus.crops
        ]
        texts = sorted({text for pairs in self.pairs for pair in pairs for text in pair}, key=len)
        parts = [mean_states(encoder.encode(texts[i : i + 64])) for i in range(0, len(texts), 64)]
        self.states = torch.cat(parts) if parts else torch.zeros(0, encoder.ref.width)
        self.rows = {text: i for i, text in enumerate(texts)}
        logger.info("%d contrasting captions", len(texts))

    def draw(self, picks: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(places in the batch, true states, false states), one contrast for each crop that has."""
        places = [k for k, index in enumerate(picks) if self.pairs[index]]
        chosen = [
            self.pairs[picks[k]][int(rng.integers(len(self.pairs[picks[k]])))] for k in places
        ]
        rows = torch.tensor([[self.rows[text] for text in pair] for pair in chosen]).view(-1, 2)
        true, false = self.states[rows].unbind(1)
        return torch.tensor(places, dtype=torch.long), true, false


def contrast_loss(
    model: ScorerModel, vectors: Tensor, places: Tensor, true: Tensor, false: Tensor
) -> Tensor:
    """Logistic loss on how much better the true caption fits; `vectors` `[B, E]` of the audio."""
    if len(places) == 0:
        return vectors.new_zeros(())
    margin = model.embed_text(true) - model.embed_text(false)
    scale = model.log_scale.exp().clamp(max=100)
    # In a batch captions differ in many facts at once; here in one, which is what a prompt's change
    # is.
    return F.softplus(-scale * (vectors[places] * margin).sum(-1)).mean()


@torch.no_grad()
def recall(model: ScorerModel, corpus: TokenCorpus, mels: dict[int, Tensor]) -> float:
    """Share of 100 held-out crops whose caption is among the first five of the 100."""
    model.eval()
    picks = np.array(sorted(mels))[np.linspace(0, len(mels) - 1, 100).astype(int)]
    audio, text = _batch(corpus, mels, picks, None)
    similarity = model.embed_audio(audio) @ model.embed_text(text).T
    own = similarity.diag()[:, None]
    model.train()
    return float(((similarity > own).sum(1) < 5).float().mean())


def _learning_rate(step: int, preset: ClapPreset) -> float:
    """Warm-up over 30 steps, then a cosine to 2 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / preset.steps))
    return preset.learning_rate * min(1, (step + 1) / 30) * (0.02 + 0.98 * cosine)


def _check_enough(corpus: Path, pools: list[np.ndarray], held_out: int) -> None:
    """Refuse a corpus that leaves a half of each batch, or the held-out figure, without a crop."""
    if not all(len(pool) for pool in pools) or not held_out:
        raise RequestError(
            f"{corpus} has sound for {sum(map(len, pools))} captioned crops to train on and "
            f"{held_out} held out; the scorer needs at least two and one. Import or render more."
        )
    logger.info("log-mels of %d crops ready", sum(map(len, pools)))


def train_clap(
    corpus_dir: Path, out: Path, codec: Codec, preset: ClapPreset, device: str = "cpu"
) -> None:
    """Train the scorer and write it with its null prompts (held-out captions)."""
    torch.manual_seed(preset.seed)
    config = scorer_config(preset)
    model = ScorerModel(config).train()
    train, valid = TokenCorpus(corpus_dir, "train"), TokenCorpus(corpus_dir, "valid")
    mels, through = _log_mels(train, corpus_dir, model, codec, "train", preset.round_trips)
    valid_mels, _ = _log_mels(valid, corpus_dir, model, codec, "valid", preset.round_trips)
    pools = [np.array(sorted(through)), np.array(sorted(set(mels) - through))]
    _check_enough(corpus_dir, pools, len(valid_mels))
    wrong = Contrasts(train, TextEncoder.load(MINILM), preset.seed)
    model = model.to(device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=preset.learning_rate, weight_decay=preset.weight_decay
    )
    rng = np.random.default_rng(preset.seed)
    started, best = time.monotonic(), 0.0
    for step in range(preset.steps):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, preset)
        # Halves of both kinds, so that negatives are of both too, and the sound of the codec gives
        # nothing away.
        picks = np.concatenate([rng.choice(pool, preset.batch // 2) for pool in pools])
        audio, text = (t.to(device) for t in _batch(train, mels, picks, rng))
        vectors = model.embed_audio(audio)
        # At most 100, as in CLIP, or a few easy batches make the softmax too sharp to learn from.
        logits = model.log_scale.exp().clamp(max=100) * (vectors @ model.embed_text(text).T)
        labels = torch.arange(len(picks), device=device)
        # Either way round (CLIP): the sound among captions, the caption among sounds.
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        if preset.contrast_weight:
            drawn = (t.to(device) for t in wrong.draw(picks, rng))
            loss = loss + preset.contrast_weight * contrast_loss(model, vectors, *drawn)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 49 or step == preset.steps - 1:
            best = recall(model, valid, valid_mels)
            logger.info(
                "step %d loss %.3f held-out R@5 of 100: %.2f", step + 1, float(loss.detach()), best
            )
    out.mkdir(parents=True, exist_ok=True)
    save_module(out, model.eval())
    write_json(out / CONFIG, config.model_dump(by_alias=True))
    # Held-out captions, so that no prompt of the null is one that the scorer learned by heart.
    captions = sorted({crop.captions[PHRASE % len(crop.captions)] for crop in valid.crops})
    picks = np.linspace(0, len(captions) - 1, NULL_PROMPTS).astype(int)
    save_null_prompts(out, [captions[i] for i in picks])
    write_training_record(
        out,
        stage="clap",
        steps=preset.steps,
        seconds=time.monotonic() - started,
        device=device,
        corpora=[corpus_dir],
        preset=asdict(preset),
        held_out_recall_at_5_of_100=best,
    )
