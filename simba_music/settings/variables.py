"""Variables: the rows of docs/settings.md, made from the settings."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simba_music.settings import Settings


@dataclass(frozen=True)
class Variable:
    """A row of docs/settings.md; all in words."""

    name: str
    default: str
    allowed: str
    meaning: str


def variables() -> Iterator[Variable]:
    """Every variable, in the order of `Settings`."""
    for field in Settings.model_fields.values():
        said: Any = field.json_schema_extra
        default = field.default
        value = f"`{default:g}`" if isinstance(default, int | float) else f"`{default}`"
        yield Variable(
            str(field.validation_alias),
            said["otherwise"] or value,
            said["allowed"],
            field.description or "",
        )
