"""Report: what a benchmark measured as tables and sentences, for docs/performance.md."""

from collections.abc import Sequence
from typing import TypeVar

from simba_music.training.benchmark.machine import Machine
from simba_music.training.benchmark.rows import (
    RERUN,
    DecodingRow,
    LatencyRow,
    LengthRow,
    PartRow,
    Results,
    Row,
    TogetherRow,
    TrafficRow,
)
from simba_music.training.benchmark.tables import NAMES, named, short, spread_text, table

SECTIONS = (
    *("summary", "machine", "decoding", "traffic", "length"),
    *("latency", "together", "parts", "missing"),
)
_CLIPS_S = (10, 30, 120)  # that the sentences speak of
_Kind = TypeVar("_Kind", bound=Row)


def of_kind(results: Results, kind: type[_Kind]) -> list[_Kind]:
    """Rows of one kind, as they were measured."""
    return [row for row in results.rows if isinstance(row, kind)]


def sections(results: Results) -> dict[str, str]:
    """Text of every one of `SECTIONS`; it says so where nothing was measured."""
    made = {
        "summary": summary_text(results),
        "machine": machine_text(results),
        "decoding": decoding_text(of_kind(results, DecodingRow)),
        "traffic": traffic_text(of_kind(results, TrafficRow)),
        "length": length_text(of_kind(results, LengthRow)),
        "latency": latency_text(of_kind(results, LatencyRow)),
        "together": together_text(of_kind(results, TogetherRow)),
        "parts": parts_text(of_kind(results, PartRow)),
        "missing": missing_text(results.missing),
    }
    return {name: made[name] or "Not measured in this run." for name in SECTIONS}


def summary_text(results: Results) -> str:
    """Codes a second at the first size, for README: ours in float32 and int8, and MusicGen's."""
    rows = of_kind(results, DecodingRow)
    own = [row for row in rows if row.size == rows[0].size and row.headline]
    if not own:
        return ""
    own.sort(key=lambda row: row.ms_per_step.median)
    lines = [
        (named(r.system), f"{r.engine}, {r.dtype}", short(r.tokens_per_s), short(r.times_real_time))
        for r in own
    ]
    said = (
        f"The bundled size, {own[0].size}, one listener with guidance, one core of an "
        f"{results.machine.processor}, n = {own[0].ms_per_step.n}:"
    )
    return f"{said}\n\n{table(('system', 'engine', 'codes/s', '× real time'), lines)}"


def _processor(machine: Machine) -> str:
    caches = ", ".join(f"{name} {size}" for name, size in machine.caches.items())
    flags = ", ".join(machine.flags) or "none of those that kernels make use of"
    return (
        f"{machine.processor}; {machine.cores} cores; {flags}; caches {caches or 'unknown'}; "
        f"{machine.memory_gb:g} GB; {machine.system}, Python {machine.python}"
    )


def machine_text(results: Results) -> str:
    """On what machine, from which commit and weights, and how busy it was."""
    machine = results.machine
    libraries = ", ".join(f"{name} {v}" for name, v in machine.libraries.items())
    weights = ", ".join(f"{name} {digest[:8]}" for name, digest in results.weights.items())
    pinned = "one pinned core" if machine.pinned else "no pinning on this system"
    cut = "" if results.complete else " The run was cut; what is missing was not measured."
    return (
        f"Machine: {_processor(machine)}; {libraries}. Plan: {results.plan}, {pinned}, "
        f"{results.minutes:.3g} minutes; {machine.load:g} processes were running before it began. "
        f"Commit {results.commit}. Weights: {weights}.{cut}"
    )


def decoding_text(rows: Sequence[DecodingRow]) -> str:
    """A table a size, the fastest first, and our engines over what others have."""
    texts = []
    for size in dict.fromkeys(row.size for row in rows):
        own = sorted((row for row in rows if row.size == size), key=lambda r: r.ms_per_step.median)
        heads = ("system", "engine", "weights", "codes/s", "ms a step", "× real time")
        lines = [
            (
                named(row.system),
                row.engine,
                row.dtype,
                short(row.tokens_per_s),
                spread_text(row.ms_per_step),
                short(row.times_real_time),
                _floor(row),
                str(row.ms_per_step.n),
            )
            for row in own
        ]
        texts += [f"**{size}**", table((*heads, "% of the floor", "n"), lines), _shapes(own)]
        texts += [ratios_text(own)]
    return "\n\n".join(filter(None, texts))


def _floor(row: DecodingRow) -> str:
    if row.engine == RERUN:
        return ""
    return f"{100 * row.of_floor:.0f} ({row.bandwidth_gb_s:.3g} GB/s)"


def _shapes(rows: Sequence[DecodingRow]) -> str:
    shapes = dict.fromkeys((named(row.system), row.shape) for row in rows)
    return "; ".join(f"{name}: {shape}" for name, shape in shapes) + "."


def ratios_text(rows: Sequence[DecodingRow]) -> str:
    """Speed of our fastest engine over each other system's, float32, and the most there can be.

    The most is what an engine would reach that spends its time on reading memory alone.
    """
    ours = [row for row in rows if row.dtype == "float32" and row.engine != RERUN]
    best = {row.system: row for row in reversed(ours) if row.system in NAMES}
    lines = [
        (
            f"{other.system}, {other.engine}" if other.system != "simba" else other.engine,
            *(
                f"{short(other.ms_per_step.median / own.ms_per_step.median)} "
                f"({short(other.ms_per_step.median / own.ms_per_step.median / own.of_floor)})"
                for own in (best[system] for system in NAMES)
            ),
        )
        for other in rows
        if other.dtype == "float32" and (other.system not in NAMES or other.engine == RERUN)
    ]
    if not lines or set(best) != set(NAMES):
        return ""
    heads = ["times as fast as, float32", *(f"{NAMES[s]} ({best[s].engine})" for s in NAMES)]
    return table(heads, lines) + "\n\nIn brackets: if nothing but the memory took time."


def traffic_text(rows: Sequence[TrafficRow]) -> str:
    """From which length on SiMBA moves fewer bytes than the Transformer, by the sizes alone."""
    heads = ["size", "weights, MB", "SiMBA's state, MB a step", "Transformer's cache, MB a step"]
    heads += ["equal after", "equal, mean of a clip"]
    heads += [f"SiMBA over Transformer, clip of {s} s" for s in _CLIPS_S]
    lines = [
        [
            f"{row.size}, d_state {row.d_state}",
            f"{row.weights_mb:.3g}",
            f"{row.state_mb:.3g}",
            f"{row.cache_mb_per_frame:.3g} × frames",
            _frames(row.break_even, row),
            _frames(2 * row.break_even, row),
            *(f"{_share(row, seconds):.2f}" for seconds in _CLIPS_S),
        ]
        for row in rows
    ]
    if not rows:
        return ""
    return "\n\n".join([table(heads, lines), *(_in_words(row) for row in rows)])


def _in_words(row: TrafficRow) -> str:
    """Whether SiMBA's fixed state is an advantage at the length that is usual here."""
    usual = _CLIPS_S[0]
    share = _share(row, usual)
    said = "moves fewer bytes" if share < 1 else "has no advantage in bytes"
    return (
        f"{row.size}: up to {_frames(2 * row.break_even, row)}, SiMBA moves more than the "
        f"Transformer over a whole clip; at {usual} s it {said}, {share:.2f} of the Transformer's."
    )


def _frames(frames: float, row: TrafficRow) -> str:
    return f"{frames:.0f} frames ({frames / row.frame_rate:.1f} s)"


def _share(row: TrafficRow, seconds: float) -> float:
    """All bytes that a clip's steps move in SiMBA over those in the Transformer."""
    cache = row.cache_mb_per_frame * seconds * row.frame_rate / 2
    return (row.weights_mb + row.state_mb) / (row.weights_mb + cache)


def length_text(rows: Sequence[LengthRow]) -> str:
    """Time and memory of a step at every length, and how both grow."""
    heads = ("at", "system", "ms a step", "over that at 1 s", "held, MB", "moved a step, MB")
    lines = [
        (
            _seconds(row.seconds),
            named(row.system),
            spread_text(row.ms_per_step),
            _over_first(row, rows),
            f"{row.state_mb:.3g}",
            f"{row.moved_mb:.3g}",
            "" if row.peak_mb is None else f"{row.peak_mb:.3g}",
            f"{row.how}, {row.engine}",
        )
        for row in sorted(rows, key=lambda row: row.seconds)
    ]
    made = table((*heads, "process grows, MB", "how"), lines)
    return "\n\n".join([made, *_measured_break_even(rows)]) if rows else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min"


def _over_first(row: LengthRow, rows: Sequence[LengthRow]) -> str:
    first = min((r for r in rows if r.system == row.system), key=lambda r: r.seconds)
    return f"{row.ms_per_step.median / first.ms_per_step.median:.2f}"


def _measured_break_even(rows: Sequence[LengthRow]) -> list[str]:
    """Which of the two takes less time a step, length by length."""
    by = {(row.system, row.seconds): row for row in rows}
    said = []
    for seconds in sorted({row.seconds for row in rows}):
        ours, theirs = by.get(("simba", seconds)), by.get(("transformer", seconds))
        if ours is None or theirs is None:
            continue
        a, b = ours.ms_per_step, theirs.ms_per_step
        apart = a.high < b.low or b.high < a.low
        ratio = b.median / a.median
        said.append(
            f"{ratio:.2f} at {_seconds(seconds)}{'' if apart else ' (the quartiles overlap)'}"
        )
    if not said:
        return []
    return [f"Measured, the Transformer's time a step over SiMBA's: {', '.join(said)}."]


def latency_text(rows: Sequence[LatencyRow]) -> str:
    """What listeners wait for."""
    heads = ("process", "users at once", "cores", "clip", "first sound, s", "all, s", "engine", "n")
    words = {"first": "new: its first clips", "second": "new: its second clips", "warm": "warm"}
    lines = [
        (
            words[row.start],
            str(row.users),
            f"{row.cores}, one of them busy" if row.neighbour else str(row.cores),
            f"{row.duration_s:g} s",
            spread_text(row.first_audio_s),
            spread_text(row.total_s),
            row.engine,
            str(row.total_s.n),
        )
        for row in rows
    ]
    return table(heads, lines) if rows else ""


def together_text(rows: Sequence[TogetherRow]) -> str:
    """Clips a minute of several clients, through slots and one after the other."""
    heads = ("clients", "cores", "clip", "engine", "one after the other", "slots", "through them")
    lines = [
        (
            *(str(row.users), str(row.cores), f"{row.duration_s:g} s", row.engine),
            *(spread_text(row.apart), str(row.slots), spread_text(row.together)),
            *(f"{row.ratio:.2f}", str(row.together.n)),
        )
        for row in rows
    ]
    return table((*heads, "times", "n"), lines) if rows else ""


def parts_text(rows: Sequence[PartRow]) -> str:
    """Seconds of everything but the language models."""
    lines = [
        (
            row.part,
            f"{row.audio_s:g} s" if row.audio_s else "",
            spread_text(row.seconds),
            str(row.seconds.n),
        )
        for row in rows
    ]
    return table(("part", "of sound", "seconds", "n"), lines) if rows else ""


def missing_text(missing: dict[str, str]) -> str:
    """What this machine could not measure, and why."""
    if not missing:
        return "Nothing is missing."
    by_reason = dict[str, list[str]]()
    for what, why in missing.items():
        by_reason.setdefault(why, []).append(what)
    return "\n".join(f"- {'; '.join(what)}. {why}" for why, what in by_reason.items())
