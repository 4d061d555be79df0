"""The benchmark: its rows from end to end on tiny models, its baselines, its floor, its page."""

import math
import re
from pathlib import Path

import pytest
import torch
from conftest import lm_config
from transformers import Mamba2ForCausalLM, MusicgenForCausalLM

from simba_music.__main__ import main
from simba_music.errors import CheckpointError, EngineError
from simba_music.files import read_json, write_json
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.loaded_models import LoadedModel
from simba_music.generation.streaming.threads import cores
from simba_music.training.benchmark import baselines, decoding, latency, lengths, run, systems
from simba_music.training.benchmark.figures import draw_lengths
from simba_music.training.benchmark.gpu.report import GPU_SECTIONS
from simba_music.training.benchmark.latency import Case, Checkpoints, Clients
from simba_music.training.benchmark.lengths import FarAlong, Lengths, Player, growth
from simba_music.training.benchmark.machine import in_a_new_process, pinned, this_machine
from simba_music.training.benchmark.memory_floor import (
    Bandwidth,
    decoded_parameters,
    held_bytes,
    moved_bytes,
    read_bandwidth,
    weight_bytes,
)
from simba_music.training.benchmark.report import SECTIONS, of_kind, sections
from simba_music.training.benchmark.rows import (
    MAMBA2,
    MUSICGEN,
    RERUN,
    Book,
    DecodingRow,
    LatencyRow,
    LengthRow,
    PartRow,
    Results,
    Spread,
    TogetherRow,
    TrafficRow,
    read_results,
)
from simba_music.training.benchmark.run import Plan, run_benchmark
from simba_music.training.benchmark.systems import Size
from simba_music.training.benchmark.tables import short

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def tiny(system):
    checkpoints = (str(system / name) for name in ("simba", "transformer", "clap"))
    return Plan(
        "tiny",
        sizes=(Size(steps=12, repeats=2), Size(64, 1, 8, steps=12, repeats=1)),
        positions=(1, 9),
        cases=(Case(1, 2.0, 2, all_cores=False, neighbour=True), Case(2, 2.0, 1)),
        cold_s=2.0,
        lengths=Lengths((0.5, 2.0, 12.0), decode_to_s=2.0, steps=3, repeats=2),
        clients=Clients(2, 2.0, 2),
        parts_s=2.0,
        parts_repeats=2,
        checkpoints=Checkpoints(*checkpoints),
    )


def begun(**changes):
    fields = {"schema": 1, "plan": "tiny", "machine": this_machine(), "commit": "abc"}
    return Results.model_validate(fields | {"weights": {"codec": "1" * 64}} | changes)


def only_reference(lm, name="auto", dtype="float32"):
    """`engine_of` where there is one engine: others are compiled for a minute, and have tests."""
    if (name, dtype) != ("reference", "float32"):
        raise EngineError(f"no {name} with {dtype} here")
    return ReferenceEngine(lm)


@pytest.fixture(scope="module", autouse=True)
def one_engine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(systems, "engine_of", only_reference)
        yield


@pytest.fixture(scope="module")
def measured(system, tmp_path_factory):
    """A whole run, its file, and what it said."""
    path, said = tmp_path_factory.mktemp("bench") / "new" / "performance.json", []
    with pytest.MonkeyPatch.context() as patch:  # a new process takes seconds to begin
        for module in (latency, lengths):
            patch.setattr(module, "in_a_new_process", lambda work, *given: work(*given))
        return run_benchmark(tiny(system), path, said.append), path, said


@pytest.fixture
def simba(system):
    return LoadedModel.load(str(system / "simba"))


def test_a_run_measures_every_group(measured):
    results, path, said = measured
    assert results.complete and results == read_results(path) and path.stat().st_size < 30_000
    assert any("latency" in line for line in said)
    decoding = of_kind(results, DecodingRow)
    sizes = dict.fromkeys(row.size for row in decoding)
    assert [*sizes] == ["d32 × 2", "d64 × 1"] == [r.size for r in of_kind(results, TrafficRow)]
    for size, repeats in zip(sizes, (2, 1), strict=True):
        own = [row for row in decoding if row.size == size]
        for system in ("simba", "transformer"):
            assert any((r.system, r.engine) == (system, "reference") for r in own)
        assert len([row for row in own if row.system == MUSICGEN]) >= 2
        assert any(row.system == MAMBA2 for row in own) and any(r.engine == RERUN for r in own)
        assert {row.ms_per_step.n for row in own} == {repeats}
    lengths = {(r.system, r.seconds): r for r in of_kind(results, LengthRow)}
    assert len(lengths) == 9
    assert {(r.start, r.users) for r in of_kind(results, LatencyRow)} == {
        ("first", 1), ("second", 1), ("warm", 1), ("warm", 2)
    }  # fmt: skip
    parts = {row.part for row in of_kind(results, PartRow)}
    assert len(parts) == 9 and "scorer" in parts


def test_figures_of_a_run_are_sane(measured):
    results, _, _ = measured
    for row in of_kind(results, DecodingRow):
        spread = row.ms_per_step
        assert 0 < spread.low <= spread.median <= spread.high
        assert row.tokens_per_s == pytest.approx(1000 / spread.median)
        assert row.times_real_time == pytest.approx(row.tokens_per_s / 50)
        assert 0.5 < row.bandwidth_gb_s < 2000
        assert 0 < row.of_floor < 1, "nothing is faster than its memory"
    for row in of_kind(results, LatencyRow):
        assert 0 < row.first_audio_s.median < row.total_s.median
        assert row.total_s.n == {"warm": 2}.get(row.start, 1)
    (row,) = of_kind(results, TogetherRow)
    assert (row.users, row.apart.n, row.together.n, row.slots) == (2, 2, 2, 8)
    assert 0 < row.apart.median and row.ratio == row.together.median / row.apart.median
    lengths = {(r.system, r.seconds): r for r in of_kind(results, LengthRow)}
    assert lengths["simba", 2.0].how == "decoded" and lengths["simba", 12.0].how == "set up"
    assert lengths["simba", 12.0].state_mb == lengths["simba", 0.5].state_mb
    cache = [lengths["transformer", s] for s in (0.5, 2.0, 12.0)]
    assert cache[2].state_mb == pytest.approx(24 * cache[0].state_mb, rel=1e-3)
    window = lengths["transformer, window of 10 s", 12.0]
    assert window.how == "computed" and window.ms_per_step == cache[1].ms_per_step
    assert window.state_mb == pytest.approx(cache[2].state_mb * 10 / 12, rel=1e-3)


def test_memory_is_that_of_a_process_of_its_own(system):
    held = bytearray(300_000_000)  # which the new process has nothing of
    sources = {"a": str(system / "transformer")}
    found = in_a_new_process(growth, sources, (1.0, 400.0), 3, ("reference",))["a"]
    assert len(held) and set(found) == {1.0, 400.0}
    if found[400.0] is None:
        pytest.skip("this system does not say what memory a process has")
    cache = 400 * 50 * 2 * 2 * 2 * 32 * 4 / 1e6  # frames, rows, layers, keys and values, width
    assert 0.8 * cache < found[400.0] - found[1.0] < 1.5 * cache


def test_a_run_that_is_cut_leaves_its_rows(system, tmp_path):
    path = tmp_path / "cut.json"

    def cut(line):
        if "1 of 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(tiny(system), path, cut)
    found = read_results(path)
    rows = of_kind(found, DecodingRow)
    assert not found.complete and {row.ms_per_step.n for row in rows} == {1} and len(rows) >= 6
    assert "was cut" in sections(found)["machine"]
    assert sections(found)["latency"] == "Not measured in this run."


def test_only_the_groups_that_were_asked_for_are_measured(system, tmp_path):
    results = run_benchmark(tiny(system), tmp_path / "parts.json", lambda line: None, ["parts"])
    assert {type(row) for row in results.rows} == {PartRow} and results.complete


def recorded(monkeypatch, cls):
    """Ids and length of the cache of every call of a transformers model."""
    calls, forward = [], cls.forward

    def spy(self, *args, **kwargs):
        cache = kwargs.get("cache")
        before = 0 if cache is None or cls is Mamba2ForCausalLM else cache.get_seq_length()
        found = forward(self, *args, **kwargs)
        calls.append((tuple(kwargs["input_ids"].shape), before, found.cache))
        return found

    monkeypatch.setattr(cls, "forward", spy)
    return calls


@pytest.mark.parametrize("cross", [False, True])
def test_musicgen_generates_every_code_from_its_cache(monkeypatch, cross):
    competitor = baselines.musicgen(lm_config("transformer"), "float32", cross)
    calls = recorded(monkeypatch, MusicgenForCausalLM)
    assert competitor.run(9) > 0
    assert [shape for shape, _, _ in calls] == [(2, 1)] * 9, "both rows of guidance, one code each"
    assert [before for _, before, _ in calls] == [*range(9)]
    if cross:
        text = calls[-1][2].cross_attention_cache
        assert text.get_seq_length() == 16, "the text's keys are not added again"
        without = baselines.musicgen(lm_config("transformer"), "float32", False)
        assert competitor.weights > without.weights


def test_mamba2_decodes_from_its_cache(monkeypatch):
    competitor = baselines.mamba2(lm_config("simba"), "float32")
    calls = recorded(monkeypatch, Mamba2ForCausalLM)
    assert competitor.run(5) > 0
    assert [shape for shape, _, _ in calls] == [(2, 1)] * 5
    assert len({id(cache) for _, _, cache in calls}) == 1


def test_the_rerun_is_the_mean_of_the_line_through_its_positions(simba, monkeypatch):
    clock = iter((0.0, 1.0, 0.0, 3.0, 0.0, 7.0))  # 1 s, 3 s and 7 s at the three positions
    competitor = baselines.rerun(simba, (1, 11, 21))
    monkeypatch.setattr(baselines.time, "process_time", lambda: next(clock))
    assert competitor.run(0) == pytest.approx((2 * 10 + 5 * 10) / 20)


def test_a_step_reads_all_weights_but_the_embeddings(simba):
    lm = simba.lm
    read = sum(p.numel() for p in decoded_parameters(lm))
    once = (lm.token_embedding.weight, lm.text_projection.weight, lm.text_projection.bias)
    beside = [*once, lm.null_text, *lm.conditions.values()]
    total = sum(p.numel() for p in lm.parameters())
    assert read == total - sum(p.numel() for p in beside)
    assert weight_bytes(decoded_parameters(lm), "float32") == 4 * read
    vectors = sum(p.numel() for p in decoded_parameters(lm) if p.ndim != 2)
    assert weight_bytes(decoded_parameters(lm), "int8") == read + 3 * vectors


def test_bytes_of_a_state_are_those_of_its_tensors(system):
    simba, transformer = (LoadedModel.load(str(system / n)) for n in ("simba", "transformer"))
    for model in (simba, transformer):
        state = Player(model, 7, ("reference",)).begin(0).state.lm.backbone
        tensors = [t for layer in state for t in layer] if model is simba else [
            *state.keys, *state.values
        ]  # fmt: skip
        positions = 0 if model is simba else tensors[0].shape[2]
        held = held_bytes(model.lm.config, positions)
        assert held == sum(t.nbytes for t in tensors)
        moved = moved_bytes(model.lm.config, positions)
        assert moved == (2 * held if model is simba else held_bytes(model.lm.config, positions + 1))


def test_a_model_far_along_has_a_full_cache_and_the_same_weights(system):
    model = LoadedModel.load(str(system / "transformer"))
    far = FarAlong.of(model.lm, 40)
    assert far.head.weight is model.lm.head.weight and not isinstance(model.lm, FarAlong)
    near = int(Player(model, 0, ("reference",)).begin(4).state.lm.backbone.length)
    player = Player(model, 40, ("reference",)).begin(4)
    cache = player.state.lm.backbone
    assert int(cache.length) == near + 40 and bool(cache.mask[:, near : near + 40].all())
    assert all(bool(keys[:, :, near : near + 40].ne(0).any(-1).all()) for keys in cache.keys)
    again = Player(model, 40, ("reference",)).begin(4).state.lm.backbone
    assert torch.equal(again.keys[0], cache.keys[0]), "two engines are compared on it"
    player.play(4)
    assert player.position == 44 and int(player.state.lm.backbone.length) == near + 44


def test_the_fastest_engine_that_is_to_be_had_is_taken(simba, monkeypatch):
    assert systems.fastest(simba.lm).name == "reference"
    monkeypatch.setattr(systems, "engine_of", lambda lm, name, dtype="float32": name)
    assert systems.fastest(simba.lm) == "compiled"
    monkeypatch.setattr(systems, "engine_of", only_reference)
    with pytest.raises(EngineError, match="no packed"):
        systems.fastest(simba.lm, ("compiled", "packed"))


def test_random_models_of_a_size_have_equal_parameters(simba, system):
    like = {"simba": simba, "transformer": LoadedModel.load(str(system / "transformer"))}
    pair = systems.random_pair(Size(128, 2, 16), like)
    ours, theirs = (
        sum(p.numel() for p in pair.models[name].lm.parameters()) for name in systems.OURS
    )
    assert pair.name == "d128 × 2" and abs(ours - theirs) < 0.02 * ours
    lm = pair.models["simba"].lm
    assert all(bool(p.isfinite().all()) for p in lm.parameters())
    assert not [*lm.buffers()], "a buffer would be left without a value"


def test_what_is_not_to_be_had_is_said_and_not_measured(system, tmp_path, monkeypatch):
    only_rerun = [(RERUN, lambda: baselines.rerun(models["simba"], (1, 3)))]
    monkeypatch.setattr(decoding, "baselines", lambda *rest: iter(only_rerun))
    models = {name: LoadedModel.load(str(system / name)) for name in systems.OURS}
    book = Book(tmp_path / "book.json", begun(), lambda line: None)
    sizes = (Size(steps=11, repeats=1),)
    decoding.measure_decoding(models, sizes, (1, 3), book)
    found = book.close()
    ours = {row.engine for row in of_kind(found, DecodingRow) if row.system in systems.OURS}
    assert ours == {"reference", RERUN}
    assert found.missing["compiled float32 simba, d32 × 2"] == "no compiled with float32 here"
    both = "compiled int8 simba, d32 × 2; compiled int8 transformer, d32 × 2"
    assert f"- {both}. no compiled with int8 here" in sections(found)["missing"]
    monkeypatch.setattr(decoding, "free_mb", lambda: 0.0)
    decoding.measure_decoding(models, sizes, (1, 3), book)
    assert "not enough free memory" in sections(book.close())["missing"]


def test_small_arrays_are_read_at_a_plausible_bandwidth():
    assert 0.5e9 < read_bandwidth(1_000_000) < 2e12
    floor = Bandwidth()
    floor.measure([1_000_000, 1_010_000])
    best = floor.gb_s(1_000_000)
    assert best == floor.gb_s(1_010_000)
    floor.measure([1_000_000])
    assert floor.gb_s(1_000_000) >= best
    with pytest.raises(KeyError):
        floor.gb_s(5_000_000)


def test_pinning_ends_with_the_block():
    before, threads = cores(), torch.get_num_threads()
    with pinned():
        assert torch.get_num_threads() == 1
        assert len(cores()) == 1 or not this_machine().pinned
    assert cores() == before and torch.get_num_threads() == threads


def test_a_row_that_is_measured_again_takes_the_place_of_the_first(tmp_path):
    book = Book(tmp_path / "rows.json", begun(), lambda line: None)
    for value in (1.0, 2.0):
        book.put(PartRow(part="codec", audio_s=10, seconds=Spread.of([value])))
    (row,) = book.close().rows
    assert row.seconds.median == 2.0
    spread = Spread.of([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (spread.low, spread.median, spread.high, spread.n) == (2.0, 3.0, 4.0, 5)


def test_a_file_that_is_no_benchmarks_is_refused(tmp_path):
    path = tmp_path / "other.json"
    for value in ({"schema": 2}, begun().model_dump(by_alias=True) | {"colour": "red"}, []):
        write_json(path, value)
        with pytest.raises(CheckpointError, match="is not a benchmark's"):
            read_results(path)
    with pytest.raises(CheckpointError, match="missing"):
        read_results(tmp_path / "nothing.json")


def test_lengths_at_which_bytes_are_equal_follow_from_the_rows():
    row = TrafficRow(
        size="d9 × 9", d_state=8, frame_rate=50, weights_mb=10, state_mb=2, cache_mb_per_frame=0.01
    )
    assert row.break_even == pytest.approx(200)
    text = sections(begun(rows=[row.model_dump()]))["traffic"]
    assert "200 frames (4.0 s)" in text and "400 frames (8.0 s)" in text
    # 10 s are 500 frames, 250 in the mean: 12 MB against 12.5 MB.
    assert f"{12 / 12.5:.2f}" in text and "at 10 s it moves fewer bytes" in text
    larger = row.model_copy(update={"state_mb": 4.0})
    text = sections(begun(rows=[larger.model_dump()]))["traffic"]
    assert "at 10 s it has no advantage in bytes" in text


def test_numbers_have_three_digits_and_no_exponent():
    assert [short(x) for x in (1714.2, 0.06561, 98.49, 6.0, 123456.0)] == [
        "1,710", "0.0656", "98.5", "6", "123,000"
    ]  # fmt: skip


def test_the_text_has_every_row_of_the_run(measured, tmp_path):
    results, _, _ = measured
    text = sections(results)
    assert set(text) == set(SECTIONS)
    shown = "\n".join(text.values())
    for row in of_kind(results, DecodingRow):
        assert short(row.tokens_per_s) in text["decoding"]
    assert len(re.findall(r"^\| (?!at|---)", text["length"], re.MULTILINE)) == 9
    for row in of_kind(results, PartRow):
        assert row.part in text["parts"]
    (row,) = of_kind(results, TogetherRow)
    assert f"| {row.ratio:.2f} | 2 |" in text["together"]
    assert "times as fast as, float32" in text["decoding"]
    assert "nan" not in shown and results.commit in text["machine"]
    assert "Measured, the Transformer's time a step over SiMBA's" in text["length"]
    assert draw_lengths(results, tmp_path / "docs" / "lengths.png")
    assert (tmp_path / "docs" / "lengths.png").stat().st_size > 5000
    assert not draw_lengths(begun(), tmp_path / "none.png")


def test_the_page_has_every_section_and_its_file_is_small():
    marked = re.findall(r"<!-- performance:([\w-]+) -->", PAGE.read_text())
    assert sorted(marked) == sorted((*SECTIONS, *GPU_SECTIONS))
    file = PAGE.with_suffix(".json")
    assert file.stat().st_size < 100_000 and PAGE.with_suffix(".png").stat().st_size < 150_000
    for row in read_json(file)["rows"]:
        assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))


def test_the_command_runs_the_plan_and_groups_that_were_asked_for(tmp_path, monkeypatch, capsys):
    asked = []

    def instead(plan, path, say, only):
        asked.append((plan.name, path, list(only)))
        return begun()

    monkeypatch.setattr(run, "run_benchmark", instead)
    file = tmp_path / "found.json"
    assert (
        main(["bench", "--quick", "--only", "parts", "--only", "length", "--json", str(file)]) == 0
    )
    assert main(["bench", "--json", str(file)]) == 0
    assert asked == [("quick", file, ["parts", "length"]), ("full", file, list(run.GROUPS))]
    assert main(["bench", "--only", "speed", "--json", str(file)]) == 2
    assert "speed" in capsys.readouterr().err
