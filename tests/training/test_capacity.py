"""The capacity model: a queue that is known is computed right, and one machine is as measured."""

import random
from pathlib import Path

import pytest

from simba_music.__main__ import main
from simba_music.errors import RequestError
from simba_music.files import read_json, write_json
from simba_music.training.benchmark.gpu.rows import GpuResults, GpuRow
from simba_music.training.capacity.check import WITHIN, compared
from simba_music.training.capacity.figures import Gpu, StepTimes, read_gpu, read_measured
from simba_music.training.capacity.queueing import Crowd, Machine, Visit, percentile, simulate
from simba_music.training.capacity.report import needed

DOCS = Path(__file__).parents[2] / "docs"
CARD = {"schema": 1, "commit": "c", "card": "H100", "date": "d", "libraries": {}}


def test_requests_share_cores_and_stand_in_line_in_the_order_of_coming():
    one = Visit("generate", (2.0,))
    alone = simulate(Crowd(1, (one,), together=True), [Machine(2, 2)], 0)
    assert alone.total_s == {"generate": [2.0]}
    three = simulate(Crowd(3, (one,), together=True), [Machine(1, 2)], 0)
    # Two share the core for 4 s; the third has it alone after them.
    assert three.waited_s["generate"] == [0.0, 0.0, 4.0]
    assert three.total_s["generate"] == [4.0, 4.0, 6.0]
    sides = simulate(Crowd(1, (Visit("generate", (1.0, 3.0)),), together=True), [Machine(1, 1)], 0)
    assert sides.seconds == pytest.approx(4.0)  # both at half speed for 2 s, one for 2 s more
    apart = simulate(Crowd(2, (one,), together=True), [Machine(1, 1)] * 2, 0)
    assert apart.waited_s["generate"] == [0.0, 0.0]


def test_a_full_line_refuses():
    crowd = Crowd(5, (Visit("generate", (1.0,)),), together=True)
    found = simulate(crowd, [Machine(1, 1)], 0, longest=1)
    assert len(found.total_s["generate"]) == 2 and found.refused == 3
    eager = Crowd(5, crowd.visits)  # who try again a second later
    found = simulate(eager, [Machine(1, 1)], 100, longest=1)
    assert 80 <= len(found.total_s["generate"]) <= 91 and found.refused > 100


def test_a_line_of_one_server_is_as_long_as_theory_says():
    # Machine repair with exponential pauses and constant work of 1 s: at an hour of 4 visitors with
    # pauses of 6 s, mean-value analysis for exponential work bounds the wait from above.
    users, pause, work = 4, 6.0, 1.0
    line = 0.0
    for count in range(1, users + 1):
        stay = work * (1 + line)
        rate = count / (pause + stay)
        line = rate * stay
    crowd = Crowd(users, (Visit("generate", (work,)),), pause)
    found = simulate(crowd, [Machine(1, 1)], 20_000, seed=3)
    total = found.total_s["generate"]
    assert work < sum(total) / len(total) < stay
    assert found.a_minute("generate") / 60 == pytest.approx(rate, rel=0.03)
    again = simulate(crowd, [Machine(1, 1)], 20_000, seed=3)
    assert again.total_s == found.total_s


def test_percentiles_and_steps_are_read_right():
    values = random.Random(0).sample(range(101), 101)
    assert (percentile(values, 50), percentile(values, 95), percentile([], 50)) == (50, 95, 0)
    steps = StepTimes((0.0, 10.0), (1.0, 3.0))
    assert steps.mean(10.0) == pytest.approx(2.0) and steps.mean(5.0) == pytest.approx(1.5)


def test_one_machine_is_predicted_within_a_quarter_of_what_was_measured():
    found = compared(DOCS)
    held = [one for one in found if one.held]
    assert len(held) >= 4 and any("slots" in one.what for one in held)
    for one in held:
        assert abs(one.off) <= WITHIN, f"{one.what}: {one.off:+.0%}"
    assert {one.what.rpartition(" ")[2] for one in found if not one.held} == {"generate", "cancel"}


def test_fewer_machines_than_are_needed_keep_a_crowd_waiting():
    visit = read_measured(DOCS / "performance.json").visit(10.0)
    crowd, machine = Crowd(60, (visit,), 60.0), Machine(2, 2)
    count = needed(crowd, machine, 5.0, 0)
    assert count > 1
    for machines, enough in ((count - 1, False), (count, True)):
        waited = simulate(crowd, [machine] * machines, 2000, 0).waited_s["generate"]
        assert (percentile(waited, 95) <= 6.0) is enough


def gpu_file(path, prompts):
    rows = [
        GpuRow(group="decoding", what=what, size=size, engine="graph, own kernels",
               prompts=count, tokens_per_s=rate * count)
        for what, rate in (("simba", 1000.0), ("transformer", 500.0))
        for size in ("bundled, 4.35 M", "random, 290 M")
        for count in prompts
    ]  # fmt: skip
    results = GpuResults(**CARD, minutes_allowed=8, rows=tuple(rows))
    write_json(path, results.model_dump(mode="json", by_alias=True))


def test_a_gpu_is_read_from_its_benchmark_and_seats_have_the_rate_of_its_slots(tmp_path):
    gpu_file(tmp_path / "gpu.json", (1, 32))
    gpu = read_gpu(tmp_path / "gpu.json", 8)
    assert dict(gpu.tokens_per_s) == {"simba": 8000.0, "transformer": 4000.0}
    measured = read_measured(DOCS / "performance.json")
    visit = gpu.visit(measured, 10.0)
    rest = 2 * (10 * measured.sound_s + measured.text_s)
    assert visit.tasks == pytest.approx((750 / 1000 + 750 / 500 + rest,))
    full = simulate(Crowd(8, (visit,), together=True), [gpu.machine()], 0)
    assert full.waited_s["generate"] == [0.0] * 8 and full.seconds == pytest.approx(visit.tasks[0])
    assert Gpu.given(4000.0, 8).visit(measured, 10.0).tasks[0] > visit.tasks[0]
    with pytest.raises(RequestError, match="64 or more prompts"):
        read_gpu(tmp_path / "gpu.json", 64)


def test_the_command_says_what_is_not_measured(tmp_path, capsys):
    assert main(["capacity", "--users", "20", "--figures", str(DOCS / "performance.json")]) == 0
    said = capsys.readouterr().out
    assert "seconds in line" in said and "at once" in said and "1 machine" in said
    kept = tmp_path / "performance.json"
    write_json(kept, read_json(DOCS / "performance.json"))
    asked = ["capacity", "--users", "20", "--gpus", "1", "--figures", str(kept)]
    assert main(asked) == 2
    assert "--tokens-per-second" in capsys.readouterr().err
    assert main([*asked, "--tokens-per-second", "20000"]) == 0
    assert "20000 codes/s, given" in capsys.readouterr().out
    parts = read_json(kept)
    parts["rows"] = [row for row in parts["rows"] if row["group"] != "parts"]
    write_json(kept, parts)
    assert main(["capacity", "--users", "20", "--figures", str(kept)]) == 2
    assert "scorer" in capsys.readouterr().err
