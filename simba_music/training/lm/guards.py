"""Guards of a language model's training: what stops it, and what a resumed one may change."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from simba_music.errors import RequestError
from simba_music.models.config import CodecRef
from simba_music.training.corpus.endless import accompaniment_of, compose_seed
from simba_music.training.corpus.tokens import TokenCorpus
from simba_music.training.lm.batches import Stream
from simba_music.training.lm.endless import Encoding, EndlessTokens
from simba_music.training.lm.preset import LMPreset
from simba_music.training.resume import read_state

if TYPE_CHECKING:
    from simba_music.training.lm.trainer import LMTrainer

logger = logging.getLogger(__name__)

# What decides a model's shape, or which batches it sees: another value is another training.
FIXED = (
    "d_model", "n_layers", "d_ff", "d_state", "head", "n_codebooks", "codebook_pattern",
    "positions", "conditions", "optimiser", "seed", "tokens_per_batch", "window_share",
    "tail_share", "mishear_share", "drop_text", "drop",
)  # fmt: skip


def check_preset(preset: LMPreset) -> None:
    """Refuse settings that no step can be made with.

    Raises:
        RequestError: If a step has no tokens, or the learning rate is no positive number.
    """
    if preset.tokens_per_batch < preset.accumulate:
        raise RequestError(
            f"--tokens-per-batch {preset.tokens_per_batch} in --accumulate {preset.accumulate} "
            "parts leaves some without a token; give at least one token a part."
        )
    if not (math.isfinite(preset.learning_rate) and preset.learning_rate > 0):
        raise RequestError(
            f"--learning-rate must be a number above 0, got {preset.learning_rate:g}."
        )


def describe(preset: LMPreset, architecture: str, corpora: Iterable[Path]) -> dict[str, Any]:
    """What a training is made with, as plain values that its state keeps."""
    plain = {k: _plain(v) for k, v in asdict(preset).items()}
    return {"architecture": architecture, "corpora": [path.name for path in corpora], **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def changes_of(
    before: dict[str, Any] | None, now: dict[str, Any], step: int, state: Path
) -> list[dict[str, Any]]:
    """What a resumed training is made with otherwise than it was, for its record.

    Args:
        before: what the state says; None for states that say nothing.
        now: what is asked for.
        step: at which it goes on.
        state: the file that it goes on from.

    Raises:
        RequestError: If it would be another training: another architecture, or other batches.
    """
    if before is None:
        return []
    if before["architecture"] != now["architecture"]:
        raise RequestError(
            f"{state.parent} holds a training of {before['architecture']}, not of "
            f"{now['architecture']}. Choose another --out."
        )
    other = [name for name in FIXED if before.get(name) != now.get(name)]
    if other:
        name = other[0]
        raise RequestError(
            f"{state.parent} holds a training with {name} {before.get(name)!r}, not "
            f"{now.get(name)!r}. Go on with what it began with, or choose another --out."
        )
    changed = {
        name: [before.get(name), value] for name, value in now.items() if before.get(name) != value
    }
    for name, (was, value) in changed.items():
        logger.info("from step %d on %s is %s, which was %s", step, name, value, was)
    return [{"step": step, **changed}] if changed else []


def check_loss(loss: float, norm: Tensor | float | None, step: int, last: float) -> None:
    """Stop where the loss or its gradient is no number, before weights are changed by it.

    Raises:
        RequestError: Names the step and the last finite loss.
    """
    size = 0.0 if norm is None else float(norm)
    if math.isfinite(loss) and math.isfinite(size):
        return
    what = f"loss is {loss}" if not math.isfinite(loss) else f"norm of the gradient is {size}"
    before = f" The last finite loss was {last:.3f}." if last else ""
    raise RequestError(
        f"At step {step} the {what}.{before} Nothing was written since the last state that was "
        "saved, which is good. Lower --learning-rate, or look for odd data, then run it again."
    )


def check_weights(step: int, *modules: torch.nn.Module, loss: float = 0.0) -> None:
    """Refuse to write weights, or a held-out loss, that are no numbers.

    Raises:
        RequestError: Names the step.
    """
    good = all(bool(torch.isfinite(p).all()) for module in modules for p in module.parameters())
    if not good or not math.isfinite(loss):
        raise RequestError(
            f"After step {step} the weights are no numbers any more. They were not written; the "
            "state that was saved before is good. Lower --learning-rate, then run it again."
        )


def resume(trainer: "LMTrainer", state: Path, start: Path | None) -> None:
    """Restore the last state, or, if more steps are planned now, the one before its fall.

    A new training begins with the weights of `start`, if that is given.

    Raises:
        RequestError: If it is of another training, see `changes_of`.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    if not state.exists():
        if start is not None:
            trainer.start_from(start)
        return
    found, before = read_state(state, trainer.device), state.with_name("stable.state")
    made_with = found.get("made_with")
    new = changes_of(made_with, trainer.made_with, found["steps"], state)
    if found["planned"] != trainer.preset.steps and before.exists():
        found = read_state(before, trainer.device)
    trainer.restore(found)
    trainer.changes += new
    logger.info("resumed at step %d", trainer.steps)


def open_splits(
    corpora: Sequence[Path], preset: LMPreset, codec: CodecRef, encoding: Encoding | None = None
) -> tuple[Stream, TokenCorpus]:
    """What to train on, and what is held out; both with codes of the same codec.

    Of an endless corpus, compose:SEED, nothing is held out, so a folder stands beside it; what is
    for training in that is trained on too (`endless.FOLDER_SHARE`).

    Raises:
        RequestError: If either is empty, or was tokenised with another codec; see `check_preset`.
    """
    check_preset(preset)
    endless = [corpus for corpus in corpora if compose_seed(corpus) is not None]
    seeds = [seed for seed in map(compose_seed, endless) if seed is not None]
    folders = [corpus for corpus in corpora if compose_seed(corpus) is None]
    if seeds and (not folders or encoding is None or len(seeds) > 1):
        raise RequestError(
            "An endless corpus, of which there can be one, holds nothing out: give a tokenised "
            "folder by --also, whose held-out pieces the loss is measured on."
        )
    valid = TokenCorpus(folders, "valid", preset.n_codebooks)
    if valid.codec["sha256"] != codec.sha256:
        raise RequestError(
            "The corpus was tokenised with another codec: run `corpus tokens` again."
        )
    if not seeds or encoding is None:
        return TokenCorpus(folders, "train", preset.n_codebooks), valid
    beside = TokenCorpus(folders, "train", preset.n_codebooks) if valid.pieces["train"] else None
    accompanied = accompaniment_of(endless[0])
    return EndlessTokens(seeds[0], preset, encoding, beside, accompanied), valid
