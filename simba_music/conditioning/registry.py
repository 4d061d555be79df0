"""Registry: every condition there is, one line each, and reading them from config.json.

CONTRIBUTING.md lists what else a new one needs: its facts in `Crop`, and a preset to train it.
"""

from collections.abc import Mapping

from pydantic import ValidationError

from simba_music.conditioning.beat import Beat
from simba_music.conditioning.chords import Chords
from simba_music.conditioning.density import Density
from simba_music.conditioning.key import KeySignature
from simba_music.conditioning.length import Length
from simba_music.conditioning.line_up import LineUp
from simba_music.conditioning.text import Text
from simba_music.conditioning.types import AnyCondition
from simba_music.files import first_problem

CONDITIONS: tuple[type[AnyCondition], ...] = (
    Text,
    Length,
    Beat,
    KeySignature,
    LineUp,
    Chords,
    Density,
)
KINDS = {condition.name: condition for condition in CONDITIONS}


def read_conditions(raw: Mapping[str, object]) -> dict[str, AnyCondition]:
    """Conditions by name, in the order of the registry, from their settings in config.json.

    Raises:
        ValueError: If one is not known here, or its settings are wrong.
    """
    unknown = set(raw) - set(KINDS)
    if unknown:
        raise ValueError(
            f"unknown condition {sorted(unknown)[0]!r}; this version knows {', '.join(KINDS)}"
        )
    found = dict[str, AnyCondition]()
    for name, kind in KINDS.items():
        if name in raw:
            try:
                found[name] = kind.model_validate(raw[name])
            except ValidationError as error:
                where, problem = first_problem(error)
                got = error.errors()[0]["input"]
                place = f"{name}.{where}" if where else name
                raise ValueError(f"{place}: {problem}, got {got!r:.60}") from error
    return found
