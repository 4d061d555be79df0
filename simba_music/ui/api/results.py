"""Results: what the endpoints answer with, typed, so that their description says it too."""

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.clip import Clip
    from simba_music.scoring.score import Score


class File(TypedDict):
    """A file on the server; a client of Gradio's downloads it and puts its path in this place."""

    path: str
    url: str | None
    orig_name: str
    mime_type: str
    meta: dict[str, str]


class Alignment(TypedDict):
    """How well a clip fits its prompt: cosine in [-1, 1], null where `reason` says why.

    percentile: share of mismatched prompts, in %, that fit it less well; timeline: cosines of
    windows of 2.5 s.
    """

    scorer: str
    cosine: float | None
    percentile: float | None
    timeline: list[float]
    reason: str | None
    note: str


class ClipResult(TypedDict):
    """A clip; recipe: all that made it, which the file carries too."""

    model: str
    path: File
    score: Alignment | None
    recipe: dict[str, object]


class Result(TypedDict):
    """What is there so far; progress: share of each model that is done, 1 in the last event.

    seed is null until the request is checked; notes say what a run waits for.
    """

    seed: int | None
    clips: list[ClipResult]
    progress: dict[str, float]
    notes: list[str]


class Reading(TypedDict):
    """What is read from a prompt: instruments, tempo in beats a minute, key, metre, chords.

    denied: what it refuses; cannot: what no model here can do; drawn: what the seed decides; note:
    why all this says little.
    """

    wanted: list[str]
    denied: list[str]
    tempo: float | None
    key: str
    metre: str
    chords: list[str]
    cannot: list[str]
    note: str
    drawn: dict[str, str | float]


class Model(TypedDict):
    """A model that may be named; kind, length and digest are null for one that is not here yet."""

    name: str
    kind: str | None
    longest_s: float | None
    sha256: str | None
    default: bool


def file_of(path: str, name: str) -> File:
    """A file that Gradio copies to its cache and gives an address."""
    meta = {"_type": "gradio.FileData"}
    return File(path=path, url=None, orig_name=name, mime_type="audio/wav", meta=meta)


def alignment_of(score: "Score | None") -> Alignment | None:
    """A score as the endpoints show it."""
    if score is None:
        return None
    return Alignment(
        scorer=score.scorer,
        cosine=score.cosine,
        percentile=score.percentile,
        timeline=list(score.timeline),
        reason=score.reason,
        note=score.note,
    )


def clip_of(clip: "Clip", model: str, path: str, name: str) -> ClipResult:
    """A clip whose sound is at `path`."""
    recipe = clip.recipe.as_json()
    score = alignment_of(clip.score)
    return ClipResult(model=model, path=file_of(path, name), score=score, recipe=recipe)
