"""Codec training: autoencoder, then k-means, then EMA vector quantisation; exports EncodecModel."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm
from transformers import EncodecConfig, EncodecModel

from simba_music.audio import mel_bank
from simba_music.training.corpus.build import SAMPLE_RATE, piece_audio
from simba_music.training.quantizer import EMAQuantizer
from simba_music.training.record import write_training_record

logger = logging.getLogger(__name__)

MODEL_CONFIG: dict[str, Any] = {
    "sampling_rate": SAMPLE_RATE,
    "upsampling_ratios": [8, 5, 4, 3],
    "codebook_size": 2048,
    "codebook_dim": 128,
    "hidden_size": 128,
    "num_filters": 16,
    "target_bandwidths": [0.55],
    "use_causal_conv": False,
    "use_conv_shortcut": False,
    "pad_mode": "constant",
    "num_lstm_layers": 1,
}
INPUT_GAIN = 8.0  # brings -20 LUFS audio to about unit RMS
MEL_SCALES = ((512, 40), (1024, 64), (2048, 80))  # (window, bands)


@dataclass(frozen=True)
class CodecPreset:
    """Budget and schedule; fractions are of `minutes`."""

    minutes: float = 45.0
    batch: int = 12
    crop_s: float = 0.8
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.16  # plain autoencoder before the codebook
    waveform_weight: float = 20.0
    warmup_waveform_weight: float = 60.0
    mel_weight: float = 2.0
    commitment: float = 0.25
    ema_decay: float = 0.98
    dead_below: float = 1.5
    seed: int = 0


PRESETS = {"cpu": CodecPreset(), "gpu": CodecPreset(minutes=8.0, batch=96)}


class MelLoss(nn.Module):
    """L1 between log-mel spectrograms at several resolutions, floor 1e-4 inside the log."""

    def __init__(self) -> None:
        super().__init__()
        for window, bands in MEL_SCALES:
            self.register_buffer(f"window{window}", torch.hann_window(window))
            self.register_buffer(f"mel{window}", mel_bank(SAMPLE_RATE, window, bands))

    def log_mel(self, x: Tensor, window: int) -> Tensor:
        """Log-mel `[B, M, frames]` of `x` `[B, T]`."""
        hann = self.get_buffer(f"window{window}")
        spec = torch.stft(x, window, window // 4, window=hann, return_complex=True, center=True)
        magnitude = torch.view_as_real(spec).pow(2).sum(-1).add(1e-9).sqrt() / hann.sum()
        return torch.log(self.get_buffer(f"mel{window}") @ magnitude + 1e-4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean absolute log-mel difference of `x` and `y` `[B, T]`, in nepers."""
        losses = [F.l1_loss(self.log_mel(x, w), self.log_mel(y, w)) for w, _ in MEL_SCALES]
        return torch.stack(losses).mean()


def build_autoencoder() -> EncodecModel:
    """An EncodecModel to train: no weight norm, no LSTM, variance-preserving initialisation."""
    model = EncodecModel(EncodecConfig(**MODEL_CONFIG))
    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            fan_in = module.in_channels * module.kernel_size[0]
            if isinstance(module, nn.ConvTranspose1d):
                fan_in //= module.stride[0]
            nn.init.normal_(module.weight, std=fan_in**-0.5)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    for half in (model.encoder, model.decoder):
        for index, layer in enumerate(half.layers):
            if type(layer).__name__ == "EncodecLSTM":
                half.layers[index] = nn.Identity()
    return model


def export(trained: EncodecModel, quantizer: EMAQuantizer) -> EncodecModel:
    """The same network as a stock EncodecModel: gain folded in, LSTM zero (it is residual)."""
    stock = EncodecModel(EncodecConfig(**MODEL_CONFIG))
    for module in stock.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    for name, parameter in stock.named_parameters():
        if "lstm" in name:
            nn.init.zeros_(parameter)
    result = stock.load_state_dict(trained.state_dict(), strict=False)
    assert not result.unexpected_keys and all("lstm" in key for key in result.missing_keys)
    encoder: Any = stock.encoder.layers
    decoder: Any = stock.decoder.layers
    with torch.no_grad():
        encoder[0].conv.weight.mul_(INPUT_GAIN)
        decoder[-1].conv.weight.div_(INPUT_GAIN)
        decoder[-1].conv.bias.div_(INPUT_GAIN)
    for module in stock.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            weight_norm(module)
    quantizers: Any = stock.quantizer.layers
    book = quantizers[0].codebook
    book.embed.copy_(quantizer.embed)
    book.embed_avg.copy_(quantizer.embed)
    book.cluster_size.fill_(1)
    book.inited.fill_(1)
    return stock.eval()


def _crops(corpus: Path, preset: CodecPreset, rng: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches `[B, T]` of training audio, louder than silence."""
    pieces = [a for row, a in piece_audio(corpus) if row["split"] == "train"]
    hop = math.prod(MODEL_CONFIG["upsampling_ratios"])
    length = round(preset.crop_s * SAMPLE_RATE) // hop * hop
    weights = np.array([len(p) for p in pieces], dtype=np.float64)
    weights /= weights.sum()
    while True:
        batch: list[np.ndarray] = []
        while len(batch) < preset.batch:
            piece = pieces[rng.choice(len(pieces), p=weights)]
            start = rng.integers(len(piece) - length)
            crop = piece[start : start + length].astype(np.float32) / 32768
            if np.abs(crop).max() > 0.01 or rng.random() < 0.1:
                batch.append(crop)
        yield torch.from_numpy(np.stack(batch))


class CodecTrainer:
    """Holds the networks and their optimiser; `step` is one batch, `save`/`restore` resume."""

    def __init__(self, preset: CodecPreset, device: str):
        torch.manual_seed(preset.seed)
        self.preset, self.device = preset, device
        model: Any = build_autoencoder()
        self.model: Any = model.to(device).train()
        self.quantizer = EMAQuantizer(
            MODEL_CONFIG["codebook_size"],
            MODEL_CONFIG["codebook_dim"],
            preset.ema_decay,
            preset.dead_below,
        ).to(device)
        self.mel = MelLoss().to(device)
        parameters = [
            p for half in (self.model.encoder, self.model.decoder) for p in half.parameters()
        ]
        self.optimiser = torch.optim.Adam(parameters, lr=preset.learning_rate, betas=(0.8, 0.99))
        self.parameters = parameters
        self.steps, self.seconds, self.quantising = 0, 0.0, False

    @property
    def fraction(self) -> float:
        """Share of the time budget that is spent."""
        return min(1.0, self.seconds / (self.preset.minutes * 60))

    def step(self, x: Tensor) -> dict[str, float]:
        """One optimiser step on audio `[B, T]`; returns the losses."""
        started = time.monotonic()
        preset = self.preset
        x = x.to(self.device)
        z = self.model.encoder(x[:, None] * INPUT_GAIN)
        commitment, perplexity = torch.zeros((), device=x.device), 0.0
        if self.quantising:
            z, ids, commitment = self.quantizer(z)
            shares = torch.bincount(ids).float() / len(ids)
            perplexity = float(torch.exp(-(shares * (shares + 1e-9).log()).sum()))
        y = self.model.decoder(z)[:, 0] / INPUT_GAIN
        wave, mel = F.l1_loss(y, x), self.mel(y, x)
        weight = preset.waveform_weight if self.quantising else preset.warmup_waveform_weight
        loss = weight * wave + preset.mel_weight * mel + preset.commitment * commitment
        for group in self.optimiser.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * self.fraction))
            group["lr"] = preset.learning_rate * (0.05 + 0.95 * cosine)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimiser.step()
        self.steps += 1
        self.seconds += time.monotonic() - started
        nmse = float((y.detach() - x).pow(2).sum() / x.pow(2).sum())
        return {
            "mel": float(mel.detach()),
            "nmse": nmse,
            "commitment": float(commitment.detach()),
            "perplexity": perplexity,
        }

    @torch.no_grad()
    def start_quantising(self, batches: Iterator[Tensor], vectors: int = 40_000) -> None:
        """k-means the codebook on what the warmed-up encoder puts out."""
        found: list[Tensor] = []
        while sum(len(f) for f in found) < vectors:
            z = self.model.encoder(next(batches).to(self.device)[:, None] * INPUT_GAIN)
            found.append(z.transpose(1, 2).reshape(-1, z.shape[1]))
        self.quantizer.initialise(torch.cat(found))
        self.quantising = True

    def save(self, path: Path) -> None:
        """Write the state to resume from (a private file, never loaded from elsewhere)."""
        state = {
            "model": self.model.state_dict(),
            "quantizer": self.quantizer.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "quantising": self.quantising,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Load what `save` wrote."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.quantizer.load_state_dict(state["quantizer"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.quantising = state["quantising"]


def train_codec(
    corpus: Path,
    out: Path,
    preset: CodecPreset,
    state: Path,
    steps: int | None = None,
    device: str = "cpu",
) -> None:
    """Train for the preset's minutes (or `steps`), resume from `state`, export to `out`."""
    trainer = CodecTrainer(preset, device)
    if state.exists():
        trainer.restore(state)
        logger.info("resumed at step %d, %.1f min", trainer.steps, trainer.seconds / 60)
    batches = _crops(corpus, preset, np.random.default_rng(preset.seed + trainer.steps))
    saved, running = time.monotonic(), dict[str, float]()
    while trainer.fraction < 1 and (steps is None or trainer.steps < steps):
        if not trainer.quantising and trainer.fraction >= preset.warmup_fraction:
            trainer.start_quantising(batches)
        losses = trainer.step(next(batches))
        running = {k: 0.98 * running.get(k, v) + 0.02 * v for k, v in losses.items()}
        if trainer.steps % 50 == 0:
            logger.info(
                "step %d %.1f min %s",
                trainer.steps,
                trainer.seconds / 60,
                {k: round(v, 4) for k, v in running.items()},
            )
        if time.monotonic() - saved > 180:
            trainer.save(state)
            saved = time.monotonic()
    if not trainer.quantising:
        trainer.start_quantising(batches)
    trainer.save(state)
    export(trainer.model.cpu(), trainer.quantizer.cpu()).half().save_pretrained(out)
    write_training_record(
        out,
        stage="codec",
        steps=trainer.steps,
        seconds=trainer.seconds,
        device=device,
        corpus=corpus,
        preset=asdict(preset),
    )


def preset_with(name: str, **changes: Any) -> CodecPreset:
    """A named preset with some fields changed (None means unchanged)."""
    return replace(PRESETS[name], **{k: v for k, v in changes.items() if v is not None})
