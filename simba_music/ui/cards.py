"""Cards: what a side of the page says while it waits, downloads, generates and is done."""

from html import escape

from simba_music.generation.clip import Clip, Progress
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.recipe import Recipe
from simba_music.hub.fetch import Downloading
from simba_music.scoring.score import TIMELINE_S, Score, difference
from simba_music.ui.opening import heading

FEWEST_BARS = 2
TIMELINE_SCALE = (-0.25, 1.0)  # cosines, the same for both sides


def title(pipeline: Pipeline, side: str) -> str:
    """Heading of a side: the kind of model and the checkpoint's name, escaped."""
    model = pipeline.models[side]
    return heading(model.lm.config.backbone, model.origin.name)


def progress_card(heading: str, event: Progress) -> str:
    """A side that is being generated."""
    share = event.frames / event.total_frames
    left_s = event.elapsed_s * (1 - share) / share
    return (
        f'<div class="card">{heading}<div class="track"><div class="bar" '
        f'style="width:{100 * share:.0f}%"></div></div><div class="note">{event.frames} of '
        f"{event.total_frames} tokens, {event.frames / max(event.elapsed_s, 1e-3):.0f} tokens/s, "
        f"about {left_s:.0f} s left</div></div>"
    )


def download_card(event: Downloading) -> str:
    """A side whose checkpoint is on its way."""
    width = 100 * event.done / max(event.total, 1)
    return (
        f'<div class="card"><h3>{escape(event.repository)}</h3><div class="track">'
        f'<div class="bar" style="width:{width:.0f}%"></div></div><div class="note">Downloading '
        f"from the Hub, {event.done / 1e6:.1f} of {event.total / 1e6:.1f} MB</div></div>"
    )


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
        span = f"{i * TIMELINE_S:g} to {(i + 1) * TIMELINE_S:g} s: {value:.2f}"
        bars.append(
            f'<rect x="{i + 0.05:.2f}" width="0.9" y="{top:.1f}" height="{abs(height):.1f}">'
            f"<title>{span}</title></rect>"
        )
    said = ", ".join(f"{value:.2f}" for value in values)
    return (
        f'<svg class="timeline" role="img" viewBox="0 0 {len(values)} 100" '
        f'preserveAspectRatio="none" aria-label="Alignment every {TIMELINE_S:g} s: {said}">'
        f'{"".join(bars)}<line x1="0" x2="{len(values)}" y1="{zero:.1f}" y2="{zero:.1f}"/></svg>'
        f'<div class="note">Alignment every {TIMELINE_S:g} s</div>'
    )


def result_card(heading: str, clip: Clip, notice: str | None = None) -> str:
    """A finished side: score, seed, speed, checkpoint, licence; and what to know of the last."""
    recipe, score = clip.recipe, clip.score
    if score is None:
        fit = "Not scored: no scorer is loaded."
    elif score.cosine is None:
        fit = f"Not scored: {escape(score.reason or '')}."
    else:
        fit = (
            f"Alignment <b>{score.cosine:.2f}</b>, above <b>{score.percentile:.0f} %</b> of "
            f"{score.null_prompts} mismatched prompts, nonsense among them"
        )
    if score and score.note:
        fit += f". {escape(score.note.capitalize())}"
    course = timeline(score) if score else ""
    stopped = " Stopped early; this is what was made so far." if clip.stopped_early else ""
    revision = recipe.model.revision
    commit = f" at {revision[:8]}" if revision else ""
    played = _reading(recipe)
    said = f'<div class="note">{escape(notice)}</div>' if notice else ""
    scored = f" · scored by {escape(score.scorer)} ({escape(score.revision)})" if score else ""
    return (
        f'<div class="card">{heading}<div class="score">{fit}</div>{course}<div class="note">'
        f"Seed {recipe.request.seed} · {clip.waveform.duration_s:g} s made in "
        f"{clip.seconds:.1f} s ({clip.times_real_time:.1f} × real time, "
        f"{clip.tokens_per_s:.0f} tokens/s, {escape(recipe.engine)} {escape(recipe.dtype)}) · "
        f"checkpoint {escape(recipe.model.id)}"
        f"{commit} {(recipe.model.sha256 or '')[:8]} · {escape(recipe.licence)}{scored}."
        f"{played}{stopped}</div>{said}</div>"
    )


def _reading(recipe: Recipe) -> str:
    """What was read from the prompt besides its text, as sentences; "" if nothing."""
    read = [one.value for name, one in recipe.conditions.items() if name not in recipe.drawn]
    if recipe.denied:
        read.append(f"without {', '.join(recipe.denied)}")
    said = f" Read: {'; '.join(read)}." if read else ""
    said += f" Drawn: {', '.join(recipe.drawn.values())}." if recipe.drawn else ""
    said += f" Not possible here: {', '.join(recipe.cannot)}." if recipe.cannot else ""
    said += f" {recipe.note[0].upper()}{recipe.note[1:]}." if recipe.note else ""
    return escape(said)


def verdict_card(names: dict[str, str], scores: dict[str, Score | None]) -> str:
    """Which side fits its prompt better, and whether that is more than chance."""
    left, right = scores.get("left"), scores.get("right")
    found = difference(left, right) if left and right else None
    if found is None:
        return ""
    better = names["left"] if found.mean > 0 else names["right"]
    if not found.clear:
        text = "No clear difference in alignment"
    else:
        text = f"<b>{escape(better)}</b> fits the prompt better"
    sides = f"{escape(names['left'])} minus {escape(names['right'])}"
    return (
        f'<div class="card verdict">{text}: over {found.windows} windows of {TIMELINE_S:g} s, '
        f"{sides} is {found.mean:+.2f} on average (95 % interval {found.low:+.2f} to "
        f"{found.high:+.2f}). The scores above are of whole clips.</div>"
    )
