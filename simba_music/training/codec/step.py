"""Codec step: the networks in training, their losses and optimisers, saved and restored."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import EncodecModel

from simba_music.errors import RequestError
from simba_music.training.codec.layers import ChannelsLast
from simba_music.training.codec.losses import Balancer, Discriminator, SpectralLoss, overshoot
from simba_music.training.codec.model import INPUT_GAIN, build_autoencoder, export, reopen
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.quantizer import EMAQuantizer
from simba_music.training.devices import compute_clock, fast_bfloat16
from simba_music.training.ranks import ALONE, Ranks
from simba_music.training.resume import read_state, write_state

PEAK_S = 0.005  # how near to each other a peak of the original and of the round trip may be


class CodecTrainer:
    """Holds the networks and their optimisers; `step` is one batch, `save`/`restore` resume.

    A step whose gradients are not finite changes no weight; `skipped` counts those in a row.
    """

    parts: tuple[str, ...] = ("model", "quantizer", "optimiser", "discriminator", "judge")

    def __init__(
        self, preset: CodecPreset, device: str, start: Path | None = None, ranks: Ranks = ALONE
    ):
        """Start anew, or from the weights of an exported codec: then with its codes at once.

        `ranks` share every batch.

        Raises:
            RequestError: If the preset trains the decoder only, and there is nothing to start from.
        """
        if preset.decoder_only and start is None:
            raise RequestError("A decoder alone is trained from a codec that exists: add --start.")
        torch.manual_seed(preset.seed)
        self.preset, self.device, shape, self.ranks = preset, device, preset.shape, ranks
        model: Any
        model, codes = reopen(start, shape) if start else (build_autoencoder(shape), None)
        self.model: Any = model.to(device).train()
        self.encode, self.decode = ChannelsLast(model.encoder), ChannelsLast(model.decoder)
        self.autocast = torch.autocast(
            device.split(":")[0], torch.bfloat16, enabled=fast_bfloat16(device)
        )
        self.quantizer = EMAQuantizer(
            shape.codes, 128, preset.ema_decay, preset.dead_below, preset.balance, ranks
        )
        self.quantizer.to(device)
        self.spectral = SpectralLoss(shape.sample_rate).to(device)
        self.discriminator = Discriminator(preset.channels).to(device)
        self.discriminator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if preset.decoder_only:
            self.model.encoder.requires_grad_(False)
            self.quantizer.eval()
        halves = (self.model.encoder, self.model.decoder)
        self.parameters = [p for half in halves for p in half.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, preset.learning_rate, (0.8, 0.99))
        self.judge = torch.optim.Adam(
            self.discriminator.parameters(), 0.5 * preset.learning_rate, (0.5, 0.9)
        )
        self.balancer = Balancer(preset.gradient_norm, ranks=ranks)
        self.steps, self.seconds, self.quantising = 0, 0.0, codes is not None
        self.skipped = 0
        if codes is not None:
            per_batch = preset.batch * round(preset.crop_s * shape.frame_rate)
            self.quantizer.initialise(codes.to(device), per_batch, rounds=0)

    @property
    def fraction(self) -> float:
        """Share of the time budget that is spent."""
        return min(1.0, self.seconds / (self.preset.minutes * 60))

    def clock(self) -> float:
        """Seconds of compute on its device."""
        return compute_clock(self.device)

    def step(self, x: Tensor) -> dict[str, float]:
        """One optimiser step on audio `[B, T]`, of which this rank takes its rows.

        Returns:
            The losses, over all ranks; what else is logged is of this rank.
        """
        started, preset, ranks, batch = self.clock(), self.preset, self.ranks, len(x)
        self.seconds = ranks.number_of_first(self.seconds)
        rows, judged = ranks.rows(batch), range(min(batch, preset.adversarial_batch))
        x = x[rows].to(self.device)
        share = len(x) / batch  # of the means over all ranks
        adversarial = self.quantising and self.fraction >= preset.adversarial_fraction
        listening = self.quantising and self.fraction >= preset.judge_fraction
        z, commitment, logged = self._latents(x, batch)
        with self.autocast:
            y = self.decode(z)[:, 0]
        y = y.float() / INPUT_GAIN
        mel, linear, octave = self.spectral(y, x)
        losses = {
            "waveform": F.l1_loss(y, x),
            "spectral": (mel + (octave if preset.octave_bins else linear)) / 2,
        }
        if preset.peak_weight:
            losses["peak"] = overshoot(x, y, round(PEAK_S * preset.shape.sample_rate))
        logged |= {"mel": float(mel.detach()), "linear": float(linear.detach())}
        logged |= self._distances(x, y.detach())
        losses = {name: share * loss for name, loss in losses.items()}
        if listening:
            own = judged[ranks.rows(len(judged))]
            with self.autocast:
                heard = x[: len(own)], y[: len(own)], len(own) / len(judged)
                logged["discriminator"], features = self._judge(*heard)
                if adversarial:
                    losses |= self._adversarial(*heard[1:], features)
        # A decoder that is good already waits until the discriminator knows it: what a new one
        # has to say is noise, which the balancer would make as loud as any other loss.
        if adversarial or not (listening and preset.decoder_only):
            self._learn(losses, y, share * commitment)
        self.steps += 1
        losses["commitment"] = share * commitment
        parts = torch.stack([(y.detach() - x).pow(2).sum(), x.pow(2).sum(), *losses.values()])
        error, energy, *summed = ranks.sum(parts.detach()).tolist()
        self.seconds = ranks.number_of_first(self.seconds + self.clock() - started)
        return logged | dict(zip(losses, summed, strict=True)) | {"nmse": error / energy}

    def _latents(self, x: Tensor, batch: int) -> tuple[Tensor, Tensor, dict[str, float]]:
        """What audio `[B, T]` is decoded from, `[B, D, S]`; commitment loss; what is logged.

        All ranks together have `batch` crops.
        """
        with self.autocast:
            z = self.encode(x[:, None] * INPUT_GAIN)
        z = z.float()
        if not self.quantising:
            return z, torch.zeros((), device=x.device), {"perplexity": 0.0}
        if self.fraction >= self.preset.settle_fraction:
            self.quantizer.balance = 0.0
        z, ids, commitment = self.quantizer(z)
        ids = torch.cat(self.ranks.collected(ids))
        shares = torch.bincount(ids).float() / len(ids)
        perplexity = float(torch.exp(-(shares * (shares + 1e-9).log()).sum()))
        return z, commitment, {"perplexity": perplexity}

    def _distances(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """More that is logged of audio `[B, T]` and its round trips."""
        return {}

    def _learn(self, losses: dict[str, Tensor], y: Tensor, commitment: Tensor) -> None:
        """One step of the codec down its losses on round trips `y` `[B, T]`."""
        preset = self.preset
        gradient = self.balancer.gradient(losses, self._weights(), y)
        cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * self.fraction))
        if preset.ramp_fraction:
            begun = preset.adversarial_fraction if preset.decoder_only else 0.0
            cosine *= min(1.0, max(0.0, self.fraction - begun) / preset.ramp_fraction)
        for group in self.optimiser.param_groups:
            group["lr"] = preset.learning_rate * cosine
        self.optimiser.zero_grad()
        committing = self.quantising and not preset.decoder_only
        torch.autograd.backward(
            [y, preset.commitment * commitment] if committing else [y],
            [gradient, None] if committing else [gradient],
        )
        self.ranks.sum_gradients(self.parameters)
        if torch.nn.utils.clip_grad_norm_(self.parameters, 5.0).isfinite():
            self.optimiser.step()
            self.skipped = 0
        else:
            self.skipped += 1

    def _judge(self, real: Tensor, fake: Tensor, share: float) -> tuple[float, list[list[Tensor]]]:
        """One step of the discriminator on audio `[B, T]`; its loss and features of the real."""
        loss, features = self.discriminator.own_loss(real, fake)
        self.judge.zero_grad()
        (share * loss).backward()
        self.ranks.sum_gradients(self.discriminator.parameters())
        whole = self.ranks.sum(share * loss.detach())
        if whole.isfinite():
            self.judge.step()
        return float(whole), features

    def _adversarial(
        self, fake: Tensor, share: float, features: list[list[Tensor]]
    ) -> dict[str, Tensor]:
        """What the discriminator says of round trips `[B, T]`, this share of all that it judges."""
        found = self.discriminator.codec_losses(fake, features, share, self.ranks)
        return {"adversarial": share * found[0], "matching": share * found[1]}

    def _weights(self) -> dict[str, float]:
        return {
            "waveform": self.preset.waveform_weight if self.quantising else 1.0,
            "spectral": self.preset.spectral_weight,
            "peak": self.preset.peak_weight,
            "adversarial": self.preset.adversarial_weight,
            "matching": self.preset.matching_weight,
        }

    @torch.no_grad()
    def start_quantising(self, batches: Iterator[Tensor], vectors: int | None = None) -> None:
        """k-means the codebook on what the warmed-up encoder puts out."""
        self.quantizer.initialise(*self._encoded(batches, vectors or self.preset.latents))
        self.quantising = True

    def _encoded(self, batches: Iterator[Tensor], vectors: int) -> tuple[Tensor, int]:
        """At least so many latents `[N, D]` of the batches to come, and how many a batch has."""
        found: list[Tensor] = []
        while sum(len(f) for f in found) < vectors:
            batch = next(batches)
            own = batch[self.ranks.rows(len(batch))].to(self.device)
            z = self.ranks.gathered(self.encode(own[:, None] * INPUT_GAIN).transpose(1, 2))
            found.append(z.flatten(0, 1))
        return torch.cat(found), len(found[0])

    def exported(self) -> EncodecModel:
        """What was trained so far as a stock EncodecModel on the CPU."""
        model = copy.deepcopy(self.model).cpu()
        return export(model, self.quantizer.embed.cpu(), self.preset.shape)

    def save(self, path: Path) -> None:
        """Write the state to resume from; every rank calls this."""
        state = {name: getattr(self, name).state_dict() for name in self.parts} | {
            "averages": self.balancer.averages,
            "steps": self.steps,
            "seconds": self.seconds,
            "quantising": self.quantising,
        }
        write_state(path, state, self.ranks)

    def restore(self, path: Path) -> None:
        """Load what `save` wrote."""
        state = read_state(path, self.device)
        for name in self.parts:
            getattr(self, name).load_state_dict(state[name])
        self.balancer.averages = state["averages"]
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.quantising = state["quantising"]

    @torch.no_grad()
    def round_trip(self, x: Tensor) -> Tensor:
        """What the codec makes of crops `[B, T]`."""
        z = self.model.encoder(x[:, None].to(self.device) * INPUT_GAIN)
        if self.quantising:
            codes = self.quantizer.embed[
                self.quantizer.nearest(z.transpose(1, 2).flatten(0, 1), self.quantizer.embed)
            ]
            z = codes.view(len(x), -1, z.shape[1]).transpose(1, 2)
        found: Tensor = (self.model.decoder(z)[:, 0] / INPUT_GAIN).cpu()
        return found
