"""LM history: a row of losses, tokens, seconds and FLOPs at every validation; speed in words."""

from typing import TYPE_CHECKING, Any

from simba_music.training.corpus.tokens import TokenCorpus
from simba_music.training.devices import peak_flops
from simba_music.training.lm.batches import Stream
from simba_music.training.lm.guards import check_weights
from simba_music.training.lm.loss import mean_loss, validate

if TYPE_CHECKING:
    from simba_music.training.lm.trainer import LMTrainer


def speed(trainer: "LMTrainer", flops: float) -> dict[str, str]:
    """Tokens a second and, on a card that is known, the share of its FLOPs, in words."""
    tokens_s, peak = trainer.tokens / trainer.seconds, peak_flops(trainer.device)
    found = {"tokens_s": f"{tokens_s:.0f}"}
    return found | {"of_peak": f"{100 * tokens_s * flops / peak:.1f} %"} if peak else found


def losses(name: str, books: list[float]) -> dict[str, Any]:
    """Keys of a row: the mean over books and, of several, each book's, in nats a code."""
    found: dict[str, Any] = {name: round(mean_loss(books), 4)}
    return found | {f"{name}_books": [round(b, 4) for b in books]} if len(books) > 1 else found


def history_row(
    trainer: "LMTrainer",
    train_loss: list[float],
    valid: TokenCorpus,
    flops: float,
    train: Stream,
) -> dict[str, Any]:
    """What history.jsonl says of the step that was made last.

    Args:
        trainer: the training; what it was started from counts too.
        train_loss: of each book, smoothed; empty before the first step.
        valid: held-out crops.
        flops: of a training step, a token.
        train: what it learns from.

    Raises:
        RequestError: If the held-out loss is no number.
    """
    passes = trainer.tokens / trainer.raw.config.n_codebooks / train.frames

    def with_before(key: str, value: float) -> float:
        found: float = trainer.before.get(key, 0) + value
        return found

    held_out = validate(trainer.average, valid, trainer.device)
    check_weights(trainer.steps, loss=mean_loss(held_out))
    return {
        "step": with_before("step", trainer.steps),
        "tokens": with_before("tokens", trainer.tokens),
        "epochs": round(with_before("epochs", passes), 3),
        "flops": with_before("flops", trainer.tokens * flops),
        "seconds": round(with_before("seconds", trainer.seconds), 1),
        **(losses("train", train_loss) if train_loss else {}),
        **losses("valid", held_out),
    }
