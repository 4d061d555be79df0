"""Drums: the genre's groove, its ghost notes, fills at the ends of phrases, and the last hit."""

from simba_music.training.corpus.composing.draft import Bar, Draft
from simba_music.training.corpus.composing.plan import Plan
from simba_music.training.corpus.tables import patterns

# General MIDI percussion keys, and the words for them.
KEYS = {
    "kick": 36, "rim": 37, "snare": 38, "brush": 38, "clap": 39, "tom_low": 41, "hat": 42,
    "pedal": 44, "tom": 45, "open": 46, "crash": 49, "ride": 51, "tambourine": 54, "cowbell": 56,
    "bongo": 60, "conga": 63, "conga_low": 64, "shaker": 70, "claves": 75,
}  # fmt: skip
ACCENTS = {"X": 16, "x": 0, "o": -30}
LIGHT = ("hat", "ride", "shaker", "pedal", "brush", "tambourine", "rim", "open")


def _grooves(plan: Plan) -> list[dict[str, str]]:
    """The groove's alternatives for this metre; a plain beat on the groups where it has none."""
    known: dict[str, list[dict[str, str]]] = patterns()["drums"][plan.groove]
    if str(plan.steps) in known:
        return known[str(plan.steps)]
    names = list(known["16"][0])
    high = next((n for n in names if n in LIGHT), names[-1])
    back = next((n for n in names if n in ("snare", "clap", "rim", "bongo", "tom")), names[0])
    groups = plan.groups
    return [
        {
            names[0]: "".join("X" if s == 0 else "." for s in range(plan.steps)),
            back: "".join("x" if s in groups[1:] else "." for s in range(plan.steps)),
            high: "".join("x" if s % 2 == 0 else "." for s in range(plan.steps)),
        }
    ]


def _play(draft: Draft, bar: Bar, name: str, step: float, accent: float) -> None:
    draft.add("drums", KEYS[name], bar.start + step, 1, accent, bar.section.intensity)


def write_drums(draft: Draft) -> None:
    """A groove a section, lighter in intros, with fills and crashes where the style has them."""
    plan, rng = draft.plan, draft.rng
    rock = plan.style.fills == "rock"
    chosen: dict[str, dict[str, str]] = {}
    for bar in draft.bars_with("drums"):
        name = bar.section.name[0]
        groove = chosen.setdefault(name, rng.choice(_grooves(plan)))
        if bar.final:
            _play(draft, bar, next(iter(groove)), 0, 8)
            if rock and plan.groove not in ("brushes", "onedrop"):
                _play(draft, bar, "crash", 0, 4)
            continue
        fill = bar.last_of_section or (bar.within % 4 == 3 and rng.random() < 0.35)
        fill = fill and bar.section.intensity > 0.4 and plan.steps - 4 in plan.groups
        light = bar.section.name == "intro" and any(n in LIGHT for n in groove)
        for drum, text in groove.items():
            if light and drum not in LIGHT:
                continue
            for step, letter in enumerate(text):
                if letter != "." and not (fill and step >= plan.steps - 4):
                    _play(draft, bar, drum, step, ACCENTS[letter])
        if fill:
            beats = rng.choice(patterns()["fills"][plan.style.fills]).split()
            for i, drum in enumerate(beats):
                if drum != ".":
                    _play(draft, bar, drum, plan.steps - 4 + i, -4 + 4 * i)
        if rock and bar.within == 0 and bar.index and bar.section.intensity > 0.7:
            _play(draft, bar, "crash", 0, 6)
