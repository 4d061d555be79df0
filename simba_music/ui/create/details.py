"""Details: all that is known of a clip, as HTML for who opens it; nothing of it is needed."""

from html import escape

from simba_music.generation.clip import Clip
from simba_music.generation.recipe import Recipe
from simba_music.scoring.score import TIMELINE_S, Score
from simba_music.ui.look.words import say

FEWEST_BARS = 2
TIMELINE_SCALE = (-0.25, 1.0)  # cosines, the same for both sides


def timeline(score: Score) -> str:
    """Alignment of every window of a clip as bars on one scale, for eyes and for screen readers."""
    values = score.timeline
    if len(values) < FEWEST_BARS:
        return ""
    low, high = TIMELINE_SCALE
    zero = 100 * high / (high - low)
    bars = []
    for i, value in enumerate(values):
        height = 100 * min(high, max(low, value)) / (high - low)
        top = zero - max(height, 0)
        start, end = f"{i * TIMELINE_S:g}", f"{(i + 1) * TIMELINE_S:g}"
        span = escape(say("details", "stretch", start=start, end=end, value=f"{value:.2f}"))
        bars.append(
            f'<rect x="{i + 0.05:.2f}" width="0.9" y="{top:.1f}" height="{abs(height):.1f}">'
            f"<title>{span}</title></rect>"
        )
    title = escape(say("details", "timeline", n=f"{TIMELINE_S:g}"))
    said = ", ".join(f"{value:.2f}" for value in values)
    return (
        f'<svg class="st-timeline" role="img" viewBox="0 0 {len(values)} 100" '
        f'preserveAspectRatio="none" aria-label="{title}: {said}">'
        f'{"".join(bars)}<line x1="0" x2="{len(values)}" y1="{zero:.1f}" y2="{zero:.1f}"/></svg>'
    )


def details(clip: Clip, title: str, notice: str | None = None) -> str:
    """A clip's score, seed, speed, checkpoint and licence; and what to know of the last."""
    lines = [_fit(clip.score), _speed(clip), *_reading(clip.recipe), *_origin(clip)]
    if notice:
        lines.append(notice)
    drawn = timeline(clip.score) if clip.score else ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>{escape(title)}</h3>{drawn}<ul>{items}</ul>"


def _fit(score: Score | None) -> str:
    if score is None or score.cosine is None or score.percentile is None:
        why = score.reason if score and score.reason else say("details", "no_scorer")
        return say("details", "unscored", why=why)
    found = say(
        "details",
        "alignment",
        cosine=f"{score.cosine:.2f}",
        percentile=f"{score.percentile:.0f}",
        count=score.null_prompts,
    )
    return f"{found}. {score.note.capitalize()}" if score.note else found


def _speed(clip: Clip) -> str:
    return say(
        "details",
        "speed",
        seed=clip.recipe.request.seed,
        length=f"{clip.waveform.duration_s:g}",
        seconds=f"{clip.seconds:.1f}",
        real_time=f"{clip.times_real_time:.1f}",
        tokens=f"{clip.tokens_per_s:.0f}",
        engine=clip.recipe.engine,
        dtype=clip.recipe.dtype,
    )


def _reading(recipe: Recipe) -> list[str]:
    """What was read from the prompt besides its text; what is empty is left out."""
    read = [one.value for name, one in recipe.conditions.items() if name not in recipe.drawn]
    found = {
        "read": "; ".join(read),
        "without": ", ".join(recipe.denied),
        "drawn": ", ".join(recipe.drawn.values()),
        "cannot": ", ".join(recipe.cannot),
    }
    lines = [say("details", name, what=what) for name, what in found.items() if what]
    return [*lines, recipe.note] if recipe.note else lines


def _origin(clip: Clip) -> list[str]:
    recipe, score = clip.recipe, clip.score
    model, revision = recipe.model, (recipe.model.revision or "")[:8]
    named = "checkpoint_at" if revision else "checkpoint"
    sha = (model.sha256 or "")[:8]
    lines = [
        say("details", named, id=model.id, revision=revision, sha=sha),
        say("details", "licence", licence=recipe.licence),
    ]
    if score:
        lines.append(say("details", "scorer", name=score.scorer, revision=score.revision))
    if recipe.request.subseed:
        lines.append(say("details", "redrawn", n=recipe.request.subseed + 1))
    if recipe.request.grown_s:
        lengths = ", ".join(f"{one:g}" for one in recipe.request.grown_s)
        lines.append(say("details", "grown", lengths=lengths))
    if clip.stopped_early:
        lines.append(say("details", "early"))
    return lines
