"""Request and crop: what conditions are read from, at generation and in training."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Request:
    """What to generate; take i uses seed + i.

    prompt and negative in words; duration_s in s; temperature 0 is greedy; top_k 0 keeps all
    codes; top_p in (0, 1]; guidance 1 is none; draw is whether the seed draws tempo and key where
    the prompt leaves them open; grown_s the lengths in s at which the clip was continued, see
    `generation.streaming.growing`; subseed which draw of the seed's, None for the first that is not
    nearly empty, see `generation.streaming.redrawing`.
    """

    prompt: str
    duration_s: float = 10.0
    seed: int = 0
    takes: int = 1
    temperature: float = 1.0
    top_k: int = 100
    top_p: float = 1.0
    guidance: float = 4.5
    negative: str = ""
    draw: bool = True
    grown_s: tuple[float, ...] = ()
    subseed: int | None = None

    def as_dict(self) -> dict[str, str | int | float | list[float] | None]:
        """As it stands in a recipe."""
        return asdict(self) | {"grown_s": list(self.grown_s)}


@dataclass(frozen=True)
class Crop:
    """What is known of a piece of training music; None, or nothing, where it is not.

    start_s: where it begins in its piece; remaining_s: from there to the end of the piece, in s.
    tempo in beats a minute; key a tonic's name and mode its scale; chords as (start in s from the
    beginning of the piece, symbol), each until the next; density is sparse, moderate or busy.
    """

    start_s: float = 0.0
    remaining_s: float | None = None
    tempo: float | None = None
    key: str | None = None
    mode: str | None = None
    chords: tuple[tuple[float, str], ...] = ()
    density: str | None = None
