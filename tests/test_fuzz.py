"""The short fuzz: values that nobody thought of, the same in every run, and all found before."""

import pytest
from fuzzing import TARGETS, seeds
from hypothesis import HealthCheck, given, settings


@pytest.mark.fault("P6", "fuzz of requests")
@pytest.mark.fault("W6", "fuzz of config.json")
@pytest.mark.fault("V4", "fuzz of the vote's questions")
@pytest.mark.fault("P5", "fuzz of recipes and study files")
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_sent_is_taken_or_refused_with_a_sentence(name):
    target = TARGETS[name]
    for value in seeds(name):
        target.check(value)

    @settings(
        max_examples=80,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.given)
    def run(value):
        target.check(value)

    run()
