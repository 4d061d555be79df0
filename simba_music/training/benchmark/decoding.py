"""Decoding: steps a second of every system at every size, all of a size by turns."""

from collections.abc import Callable, Iterator, Sequence

from simba_music.errors import EngineError
from simba_music.generation.loaded_models import LoadedModel
from simba_music.training.benchmark.baselines import baselines
from simba_music.training.benchmark.machine import free_mb, pinned, this_machine
from simba_music.training.benchmark.memory_floor import (
    MB,
    Bandwidth,
    decoded_parameters,
    held_bytes,
    moved_bytes,
    weight_bytes,
)
from simba_music.training.benchmark.rows import Book, DecodingRow, Spread, TrafficRow, figure
from simba_music.training.benchmark.systems import (
    OURS,
    Competitor,
    Pair,
    Size,
    engines,
    random_pair,
)

_WARM_STEPS = 10  # before anything is measured
_COPIES = 3  # of the weights in float32 that must fit into memory for one more system


def measure_decoding(
    like: dict[str, LoadedModel], sizes: Sequence[Size], positions: Sequence[int], book: Book
) -> None:
    """Measure every size.

    Args:
        like: the bundled models, by name of the backbone.
        sizes: the bundled one, and others that have random weights.
        positions: steps at which the whole sequence is run again.
        book: where the rows go.
    """
    bandwidth = Bandwidth()
    for size in sizes:
        with pinned():
            pair = random_pair(size, like) if size.d_model else Pair(like)
            book.put(traffic(pair))
            _measure(pair, size, positions, bandwidth, book)


def traffic(pair: Pair) -> TrafficRow:
    """The bytes that a step of either model moves, computed."""
    simba, transformer = pair.config("simba"), pair.config("transformer")
    weights = weight_bytes(decoded_parameters(pair.models["simba"].lm), "float32")
    return TrafficRow(
        size=pair.name,
        d_state=simba.d_state or 0,
        frame_rate=simba.codec.frame_rate,
        weights_mb=figure(weights / MB),
        state_mb=figure(moved_bytes(simba, 0) / MB),
        cache_mb_per_frame=figure(held_bytes(transformer, 1) / MB),
    )


def _ready(pair: Pair, positions: Sequence[int], book: Book) -> Iterator[Competitor]:
    """All that this machine can measure at a size, made."""
    makers: list[tuple[str, Callable[[], Competitor]]] = []
    for system in OURS:
        makers += engines(pair, system)
    makers += baselines(pair, this_machine().bfloat16, positions)
    largest = max(sum(p.nbytes for p in m.lm.parameters()) for m in pair.models.values()) / MB
    for what, make in makers:
        if free_mb() < _COPIES * largest:
            book.miss(f"{what}, {pair.name}", "There is not enough free memory.")
            continue
        try:
            yield make()
        except EngineError as error:
            book.miss(f"{what}, {pair.name}", str(error))


def _measure(
    pair: Pair, size: Size, positions: Sequence[int], bandwidth: Bandwidth, book: Book
) -> None:
    """Run all systems of a size by turns, so that what else the machine does meets all of them."""
    ready = list(_ready(pair, positions, book))
    seconds = [list[float]() for _ in ready]
    moved = [one.weights + one.moved(size.steps) for one in ready]
    for one in ready:
        if one.most is None:
            one.run(_WARM_STEPS)
    for repeat in range(size.repeats):
        bandwidth.measure(moved)
        for one, own, size_b in zip(ready, seconds, moved, strict=True):
            if one.most is None or repeat < one.most:
                own.append(one.run(size.steps))
            book.put(_row(pair, size, one, own, bandwidth.gb_s(size_b)))
        book.done(f"decoding, {pair.name}: {repeat + 1} of {size.repeats}")


def _row(
    pair: Pair, size: Size, one: Competitor, seconds: Sequence[float], gb_s: float
) -> DecodingRow:
    return DecodingRow(
        size=pair.name,
        system=one.system,
        engine=one.engine,
        dtype=one.dtype,
        shape=one.shape,
        threads=1,
        frame_rate=pair.config("simba").codec.frame_rate,
        steps=size.steps,
        ms_per_step=Spread.of([1000 * s for s in seconds]),
        weights_mb=figure(one.weights / MB),
        state_mb=figure(one.moved(size.steps) / MB),
        bandwidth_gb_s=figure(gb_s),
    )
