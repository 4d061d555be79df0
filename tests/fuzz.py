"""The long fuzz: `make fuzz`, or `python tests/fuzz.py --minutes 10 --only vote`."""

import argparse
import itertools
import sys
import time
import traceback

from fuzzing import TARGETS, keep, trial
from hypothesis import Phase, seed

PHASES = (Phase.generate, Phase.shrink)


def search(name: str, minutes: float) -> tuple[int, int]:
    """(values tried, failures found) of a target; each failure is kept, shrunk, as a seed."""
    target, until, tried, failed = TARGETS[name], time.monotonic() + 60 * minutes, 0, 0
    last: list[object] = []

    def check(value: object) -> None:
        nonlocal tried
        tried += 1
        last[:] = [value]
        target.check(value)

    run = trial(target.given, check, max_examples=500, phases=PHASES)
    for number in itertools.count():
        if time.monotonic() >= until:
            break
        try:
            seed(number)(run)()
        except Exception:
            if not last:
                raise
            failed += 1
            traceback.print_exc(limit=-3)
            print(f"{name}: {last[0]!r}", flush=True)
            keep(name, last[0])
    return tried, failed


def main() -> int:
    """Search every target; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--only", choices=list(TARGETS), help="one target; default all")
    words = parser.parse_args()
    found = 0
    for name in [words.only] if words.only else TARGETS:
        tried, failed = search(name, words.minutes)
        print(f"{name}: {tried} values in {words.minutes:g} minutes, {failed} failures", flush=True)
        found += failed
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
