"""Scorer training: contrastive, on originals and on codec round trips, from the composed corpus."""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simba_music.audio import SAMPLE_RATE
from simba_music.errors import RequestError
from simba_music.files import write_json
from simba_music.hub.places import CONFIG
from simba_music.models.checkpoint import save_module
from simba_music.models.codec import Codec
from simba_music.models.text_encoder import TextEncoder
from simba_music.scoring.bundled import ScorerConfig, ScorerModel, save_null_prompts
from simba_music.training.corpus.tokens import MINILM, TokenCorpus
from simba_music.training.judges.scorer_data import PHRASE, Contrasts, log_mels, read_batch
from simba_music.training.ranks import Ranks, joined
from simba_music.training.record import write_training_record
from simba_music.training.resume import read_state, remove_state, write_state

logger = logging.getLogger(__name__)

KIND = "simba-music scorer, trained on our own corpus, not LAION CLAP"
NULL_PROMPTS = 200
SAVE_EVERY_S = 150.0


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
    audio, text = read_batch(corpus, mels, picks, None)
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


class _Training:
    """The scorer, its optimiser and its random source; `step` is one update, on all ranks."""

    def __init__(self, model: ScorerModel, preset: ClapPreset, ranks: Ranks):
        self.preset, self.ranks = preset, ranks
        ranks.share_norms(model)
        self.model = model.to(ranks.device)
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=preset.learning_rate, weight_decay=preset.weight_decay
        )
        self.rng = np.random.default_rng(preset.seed)
        self.steps, self.seconds = 0, 0.0

    def step(
        self,
        corpus: TokenCorpus,
        mels: dict[int, Tensor],
        pools: list[np.ndarray],
        wrong: "Contrasts",
    ) -> float:
        """One update; the loss."""
        started, model, preset = time.monotonic(), self.model, self.preset
        for group in self.optimiser.param_groups:
            group["lr"] = _learning_rate(self.steps, preset)
        # Halves of both kinds, so that negatives are of both too, and the sound of the codec gives
        # nothing away.
        picks = np.concatenate([self.rng.choice(pool, preset.batch // 2) for pool in pools])
        rows = self.ranks.rows(len(picks))
        batch = read_batch(corpus, mels, picks, self.rng)
        audio, text = (t[rows].to(self.ranks.device) for t in batch)
        own = model.embed_audio(audio), model.embed_text(text)
        # The softmax is over the crops of all ranks: each computes the whole loss on their vectors,
        # and then what it says of its own.
        whole = [self.ranks.gathered(vectors).requires_grad_() for vectors in own]
        loss = clap_loss(model, *whole)
        if preset.contrast_weight:
            drawn = (t.to(self.ranks.device) for t in wrong.draw(picks, self.rng))
            loss = loss + preset.contrast_weight * contrast_loss(model, whole[0], *drawn)
        self.optimiser.zero_grad()
        loss.backward()
        for parameter in model.parameters():  # of which every rank has the whole gradient so far
            if parameter.grad is not None:
                parameter.grad /= self.ranks.count
        torch.autograd.backward(own, [v.grad[rows] for v in whole if v.grad is not None])
        self.ranks.sum_gradients(model.parameters())
        self.optimiser.step()
        self.steps += 1
        self.seconds += time.monotonic() - started
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write the state to resume from; every rank calls this."""
        write_state(
            path,
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "rng": self.rng.bit_generator.state,
                "preset": repr(self.preset),
                "steps": self.steps,
                "seconds": self.seconds,
            },
            self.ranks,
        )

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            RequestError: If it is of a training with another preset.
        """
        state = read_state(path, self.ranks.device)
        if state["preset"] != repr(self.preset):
            raise RequestError(
                f"{path.parent} holds a training of the scorer with another preset. Go on with "
                "what it began with, or choose another --out."
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]
        self.steps, self.seconds = state["steps"], state["seconds"]


def clap_loss(model: ScorerModel, audio: Tensor, text: Tensor) -> Tensor:
    """Contrastive loss of vectors `[B, E]`, of which those of one row belong together."""
    # At most 100, as in CLIP, or a few easy batches make the softmax too sharp to learn from.
    logits = model.log_scale.exp().clamp(max=100) * (audio @ text.T)
    labels = torch.arange(len(logits), device=logits.device)
    # Either way round (CLIP): the sound among captions, the caption among sounds.
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def train_clap(
    corpus_dir: Path,
    out: Path,
    codec: Codec,
    preset: ClapPreset,
    device: str = "cpu",
    limit_steps: int | None = None,
) -> None:
    """Train the scorer, resuming from `out/resume.state`; write it with its null prompts.

    Processes that `torchrun` started share every batch. `limit_steps` ends it early, unfinished.
    """
    with joined(device) as ranks:
        torch.manual_seed(preset.seed)
        model = ScorerModel(scorer_config(preset)).train()
        train, valid = TokenCorpus(corpus_dir, "train"), TokenCorpus(corpus_dir, "valid")
        ranks.check_same("the crops of the corpus", (len(train.crops), len(valid.crops)))
        mels, through = log_mels(train, corpus_dir, model, codec, preset.round_trips, ranks)
        valid_mels, _ = log_mels(valid, corpus_dir, model, codec, preset.round_trips, ranks)
        pools = [np.array(sorted(through)), np.array(sorted(set(mels) - through))]
        _check_enough(corpus_dir, pools, len(valid_mels))
        wrong = Contrasts(train, TextEncoder.load(MINILM), preset.seed)
        training, state = _Training(model, preset, ranks), out / "resume.state"
        out.mkdir(parents=True, exist_ok=True)
        if state.exists():
            training.restore(state)
            logger.info("resumed at step %d", training.steps)
        ranks.check_same("the step that they go on from", training.steps)
        best, saved = 0.0, time.monotonic()
        while training.steps < min(preset.steps, limit_steps or preset.steps):
            loss = training.step(train, mels, pools, wrong)
            done = training.steps == preset.steps
            if ranks.first and (training.steps % 50 == 0 or done):
                best = recall(model, valid, valid_mels)
                logger.info(
                    "step %d loss %.3f held-out R@5 of 100: %.2f", training.steps, loss, best
                )
            kept_s = ranks.number_of_first(time.monotonic() - saved)
            if kept_s > SAVE_EVERY_S or training.steps == limit_steps:
                training.save(state)
                saved = time.monotonic()
        if ranks.first and training.steps == preset.steps:
            _export(out, corpus_dir, training, valid, best)
            remove_state(state)


def _export(
    out: Path, corpus_dir: Path, training: _Training, valid: TokenCorpus, best: float
) -> None:
    """Write the scorer and its record."""
    model = training.model.eval()
    save_module(out, model)
    write_json(out / CONFIG, model.config.model_dump(by_alias=True))
    # Held-out captions, so that no prompt of the null is one that the scorer learned by heart.
    captions = sorted({crop.captions[PHRASE % len(crop.captions)] for crop in valid.crops})
    picks = np.linspace(0, len(captions) - 1, NULL_PROMPTS).astype(int)
    save_null_prompts(out, [captions[i] for i in picks])
    write_training_record(
        out,
        stage="clap",
        steps=training.preset.steps,
        seconds=training.seconds,
        device=training.ranks.device,
        corpora=[corpus_dir],
        preset=asdict(training.preset),
        processes=training.ranks.count,
        held_out_recall_at_5_of_100=best,
    )
