"""The GPU's benchmark runs everywhere with tiny models, and what it wrote is worth something."""

import ast
import json
from pathlib import Path

import pytest
import torch

from simba_music.errors import CheckpointError, RequestError
from simba_music.generation.loaded_models import usable_device
from simba_music.training.benchmark.gpu import run
from simba_music.training.benchmark.gpu.models import TINY, Models
from simba_music.training.benchmark.gpu.report import gpu_section, last_runs_text
from simba_music.training.benchmark.gpu.rows import GpuBook, GpuResults, GpuRow, read_gpu_results
from simba_music.training.benchmark.rows import Spread
from simba_music.training.devices import peak_flops


@pytest.fixture
def book(tmp_path):
    begun = GpuResults(
        schema=1, card="none", date="2026-11-28", commit="x", libraries={}, minutes_allowed=1.0
    )
    return GpuBook(tmp_path / "gpu.json", begun, lambda line: None)


def broken():
    yield GpuRow(group="parts", what="first")
    raise RuntimeError("no kernel image")


def test_a_dry_run_measures_the_rows_that_matter_first(tmp_path):
    lines = []
    found = run.run_gpu_benchmark(tmp_path / "gpu.json", 0.25, lines.append, tiny=True)
    assert found == read_gpu_results(tmp_path / "gpu.json") and found.complete
    first = found.rows[0]
    assert (first.group, first.dtype) == ("parity", "bfloat16")
    assert all(row.note != "FAILED" for row in found.rows)
    assert {"simba", "transformer"} <= {row.what for row in found.rows if row.group == "decoding"}
    assert "dry run" in found.card and len(lines) >= len(found.rows)


def test_what_fails_becomes_a_reason_and_what_was_measured_before_stays(book, tmp_path):
    run.run_job(run.Job("a job", broken), book)
    found = read_gpu_results(tmp_path / "gpu.json")
    assert [row.what for row in found.rows] == ["first"]
    assert found.missing == {"a job": "RuntimeError: no kernel image"} and not found.complete


def test_a_run_ends_when_its_minutes_are_over(tmp_path):
    found = run.run_gpu_benchmark(tmp_path / "gpu.json", 0.0, lambda line: None, tiny=True)
    assert not found.rows and set(found.missing.values()) == {"The time was used up."}
    jobs = [job.what for job in run.jobs(Models("cpu", TINY))]
    assert list(found.missing) == jobs and "random, graph, bfloat16" in jobs[2]


def test_a_file_that_is_no_benchmark_is_refused(tmp_path):
    (tmp_path / "gpu.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(CheckpointError, match="bench --gpu"):
        read_gpu_results(tmp_path / "gpu.json")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_training_on_a_gpu_that_is_not_there_is_refused(capsys, tmp_path):
    from simba_music.__main__ import main

    line = ["train", "lm", "--corpus", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*line, "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no device 'cuda'" in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(RequestError, match="cuda:3"):
        usable_device("cuda:3")
    assert usable_device("cpu") == "cpu"


def test_the_peak_of_a_card_is_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 PCIe")
    assert peak_flops("cuda") == 756e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L4")
    assert peak_flops("cuda") == 121e12 and peak_flops("cpu") is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "unknown")
    assert peak_flops("cuda") is None


def test_the_report_has_every_row_with_date_and_card(tmp_path, book):
    assert gpu_section(tmp_path, "gpu").startswith("Not measured")
    spread = Spread(median=1.0, low=0.9, high=1.1, n=3)
    for row in (
        GpuRow(group="parity", what="simba", error=1e-5, limit=1e-4),
        GpuRow(group="decoding", what="simba", tokens_per_s=1234.0, ms_per_step=spread),
        GpuRow(group="training", what="transformer", tokens_per_s=5e5, peak_share=0.25),
        GpuRow(group="latency", what="simba, first audio", seconds=spread),
    ):
        book.put(row)
    book.miss("mamba-ssm", "It does not import.")
    book.close()
    (tmp_path / "gpu.json").rename(tmp_path / "performance-gpu.json")
    text = gpu_section(tmp_path, "gpu")
    for said in ("none, 2026-11-28", "1.0e-05", "1,230", "| 25 |", "first audio", "not import"):
        assert said in text


def test_every_test_that_needs_a_gpu_is_listed_with_its_last_run():
    root = Path(__file__).parents[2]
    tree = ast.parse((root / "tests" / "gpu" / "test_on_gpu.py").read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    found = json.loads((root / "docs" / "gpu-tests.json").read_text())
    assert sorted(found) == sorted(n for n in functions if n.startswith("test_"))
    ran = {"date": "2026-11-28", "card": "H200", "outcome": "passed"}
    text = last_runs_text({"test_a_b": None, "test_c": ran})
    assert "| a b | has not run |" in text and "| c | 2026-11-28, H200: passed |" in text
