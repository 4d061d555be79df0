"""Lengths: time and memory of a step far into a clip, for a state and for a growing cache."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from simba_music.conditioning.batch import ConditionBatch
from simba_music.conditioning.request import Request
from simba_music.conditioning.types import Conditioning
from simba_music.generation.decoding import BLOCK, read_requests
from simba_music.generation.engines.choice import FASTEST_FIRST
from simba_music.generation.engines.types import AnyEngine
from simba_music.generation.loaded_models import LoadedModel
from simba_music.generation.sampling import Sampling, draw_noise
from simba_music.models.lm import LMState, MusicLM
from simba_music.models.transformer import AttentionState
from simba_music.settings import EngineName
from simba_music.training.benchmark.machine import (
    forget_peak,
    in_a_new_process,
    peak_mb,
    pinned,
    quiet,
    release,
    resident_mb,
)
from simba_music.training.benchmark.memory_floor import MB, held_bytes, moved_bytes
from simba_music.training.benchmark.rows import Book, LengthRow, Spread, figure
from simba_music.training.benchmark.systems import OURS, PROMPT, fastest

WINDOW_S = 10.0  # of the window that is computed beside the full cache
_WARM_STEPS = 10
_BLOCK = 64  # positions whose random keys and values are repeated


class FarAlong(MusicLM):
    """A language model whose prefill leaves it `position` steps into the music, at no cost.

    A state of Mamba-2 is as large there as at the beginning; a cache is filled with random keys
    and values. Every engine that prefills through `init_state` begins there.
    """

    position: int

    @classmethod
    def of(cls, lm: MusicLM, position: int) -> "FarAlong":
        """`lm` itself, its weights shared."""
        found = cls.__new__(cls)
        found.__dict__.update(lm.__dict__)
        found.position = position
        return found

    def init_state(self, given: Conditioning, steps: int) -> LMState:
        """See `MusicLM`; the room is for `steps` more."""
        state = super().init_state(given, self.position + steps)
        cache = state.backbone
        if not isinstance(cache, AttentionState):
            return state
        start = int(cache.length)
        played = slice(start, start + self.position)
        groups, heads, _, size = cache.keys[0].shape
        random = torch.Generator().manual_seed(0)  # an engine's check must find them again
        for layer in (*cache.keys, *cache.values):
            block = torch.randn(groups, heads, _BLOCK, size, generator=random)
            layer[:, :, played] = block[:, :, torch.arange(self.position) % _BLOCK]
        cache.mask[:, played] = True
        return state._replace(
            backbone=cache._replace(
                position=cache.position + self.position, length=cache.length + self.position
            )
        )


class Player:
    """One clip being decoded on an engine, from `position` steps into it."""

    def __init__(
        self, model: LoadedModel, position: int, names: Sequence[EngineName] = FASTEST_FIRST
    ):
        config = model.lm.config
        lm = FarAlong.of(model.lm, position) if position else model.lm
        self.engine: AnyEngine = fastest(lm, names)
        self.config, self.position = config, position
        request = Request(PROMPT, 10.0, seed=1)
        self.batch: ConditionBatch = read_requests(config, model.encoder, [request])
        self.sampling = Sampling.of([request])
        self.random = torch.Generator().manual_seed(request.seed)
        self.state: Any = None

    def _given(self, steps: int) -> Conditioning:
        return self.batch.conditioning(steps, self.config.codec.frame_rate, self.position)

    @torch.inference_mode()
    def begin(self, room: int) -> "Player":
        """Prefill, with room for so many steps."""
        self.state = self.engine.prefill(self._given(BLOCK), room)
        return self

    @torch.inference_mode()
    def play(self, steps: int) -> float:
        """CPU seconds of a step, the mean of the next ones; conditions are computed before."""
        books, done = self.config.n_codebooks, 0
        plane: Tensor = self.engine.plane(self._given(steps))
        started = time.process_time()
        while done < steps:
            rows = plane[:, done : done + BLOCK]
            count = rows.shape[1]
            noise = draw_noise([self.random], count, (books, self.config.vocab))
            active = torch.ones(books, count, dtype=torch.bool)
            _, self.state = self.engine.decode_n(self.state, rows, noise, active, self.sampling)
            done, self.position = done + count, self.position + count
        return (time.process_time() - started) / steps


@dataclass(frozen=True)
class Lengths:
    """How far clips are followed: at which seconds, and SiMBA truly decoded until `decode_to_s`."""

    seconds: tuple[float, ...] = (1.0, 10.0, 30.0, 120.0, 300.0)
    decode_to_s: float = 300.0
    steps: int = 20
    repeats: int = 5


def measure_lengths(
    models: dict[str, LoadedModel], sources: dict[str, str], plan: Lengths, book: Book
) -> None:
    """Measure both models at all lengths, by turns.

    Args:
        models: the bundled ones, by name of the backbone.
        sources: the checkpoints that they were loaded from.
        plan: how far.
        book: where the rows go.
    """
    with pinned():
        peaks = in_a_new_process(growth, sources, plan.seconds, plan.steps)
        book.done("memory at every length")
        room = (_WARM_STEPS + plan.steps) * plan.repeats
        players = {
            (name, s): Player(models[name], _frames(models[name], s)).begin(room)
            for name in OURS
            for s in plan.seconds
        }
        taken: dict[tuple[str, float], list[float]] = {key: [] for key in players}
        for _ in range(plan.repeats):
            for (name, s), player in players.items():
                player.play(_WARM_STEPS)  # weights come back from what others took the cache for
                taken[name, s].append(player.play(plan.steps))
                row = _row(models[name], name, s, player, taken[name, s], "set up", peaks[name][s])
                book.put(row)
        _put_window(models["transformer"], plan, taken, players, book)
        book.done("steps at every length")
        _decode_truly(models["simba"], plan, peaks["simba"], book)


def _frames(model: LoadedModel, seconds: float) -> int:
    return round(seconds * model.codec.frame_rate)


def _row(
    model: LoadedModel,
    system: str,
    seconds: float,
    player: Player,
    taken: Sequence[float],
    how: Literal["decoded", "set up", "computed"],
    peak: float | None,
    frames: int | None = None,
) -> LengthRow:
    """A row; `frames` are those that the cache holds, if not all."""
    config = model.lm.config
    held = _frames(model, seconds) if frames is None else frames
    return LengthRow(
        system=system,
        seconds=seconds,
        frame_rate=config.codec.frame_rate,
        engine=f"{player.engine.name}, {player.engine.dtype}",
        how=how,
        ms_per_step=Spread.of([1000 * t for t in taken]),
        state_mb=figure(held_bytes(config, held) / MB),
        moved_mb=figure(moved_bytes(config, held) / MB),
        peak_mb=peak,
    )


def _put_window(
    model: LoadedModel,
    plan: Lengths,
    taken: dict[tuple[str, float], list[float]],
    players: dict[tuple[str, float], Player],
    book: Book,
) -> None:
    """What a window would hold and take: that of the full cache, until it is as long.

    No engine has a window; a step of it moves what one at the end of the window does.
    """
    for seconds in plan.seconds:
        until = max(s for s in plan.seconds if s <= min(seconds, WINDOW_S))
        key, system = ("transformer", until), f"transformer, window of {WINDOW_S:g} s"
        frames = _frames(model, min(seconds, WINDOW_S))
        row = _row(
            model, system, seconds, players[key], taken[key], "computed", None, frames=frames
        )
        book.put(row)


def _decode_truly(
    model: LoadedModel, plan: Lengths, peaks: dict[float, float | None], book: Book
) -> None:
    """Follow SiMBA from the first step on; its rows take the place of those that were set up."""
    player, part = Player(model, 0).begin(0), plan.steps * plan.repeats
    for seconds in plan.seconds:
        if seconds > plan.decode_to_s:
            return
        ahead = _frames(model, seconds) - part - player.position
        if ahead > 0:
            player.play(ahead)
        taken = [player.play(plan.steps) for _ in range(plan.repeats)]
        book.put(_row(model, "simba", seconds, player, taken, "decoded", peaks[seconds]))
    book.done(f"{plan.decode_to_s:g} s of SiMBA decoded")


def growth(
    sources: dict[str, str],
    seconds: Sequence[float],
    steps: int,
    names: Sequence[EngineName] = FASTEST_FIRST,
) -> dict[str, dict[float, float | None]]:
    """MB by which a process grows for a state at each length and some steps from there.

    The most that it holds while it decodes; what only setting up the state took is left out.

    Args:
        sources: checkpoints by the name that their figures get.
        seconds: the lengths.
        steps: so many are decoded at each.
        names: engines, of which the first that is to be had decodes.
    """
    quiet()
    torch.set_num_threads(1)
    found = dict[str, dict[float, float | None]]()
    for name, source in sources.items():
        model, found[name] = LoadedModel.load(source), {}
        for s in seconds:
            player = Player(model, _frames(model, s), names)
            release()
            before = resident_mb()
            player.begin(steps)
            release()
            forget_peak()
            player.play(steps)
            most = peak_mb()
            grown = None if before is None or most is None else figure(max(0.0, most - before))
            found[name][s] = grown
    return found
