"""The short fuzz: values that nobody thought of, the same in every run, and all found before."""

import fuzzing
import pytest
from fuzz import search
from fuzzing import TARGETS, Target, seeds, trial
from hypothesis import strategies as st


@pytest.mark.fault("P6", "fuzz of requests")
@pytest.mark.fault("W6", "fuzz of config.json")
@pytest.mark.fault("V4", "fuzz of the vote's questions")
@pytest.mark.fault("P5", "fuzz of recipes and study files")
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_sent_is_taken_or_refused_with_a_sentence(name):
    target = TARGETS[name]
    for value in seeds(name):
        target.check(value)

    trial(target.given, target.check, max_examples=80, derandomize=True)()


def test_the_long_fuzz_shrinks_and_keeps_what_it_finds(tmp_path, monkeypatch, capsys):
    def check(value):
        assert value < 1000

    monkeypatch.setattr(fuzzing, "SEEDS", tmp_path)
    monkeypatch.setitem(TARGETS, "small", Target(st.integers(0, 10**6), check))
    tried, failed = search("small", 1e-4)
    assert tried > 1 and failed == 1 and seeds("small") == [1000]
    assert "small: 1000" in capsys.readouterr().out
