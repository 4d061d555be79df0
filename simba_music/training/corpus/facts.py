"""Facts: what sounds in a piece and in each of its crops, read from the notes."""

import math
import random
from typing import Any, NamedTuple

import pretty_midi

from simba_music.conditioning.chord_symbols import NO_CHORD, chord_symbol
from simba_music.conditioning.reading.scales import NOTES, Key
from simba_music.training.corpus.composing.draft import Draft
from simba_music.training.corpus.composing.drums import KEYS as DRUM_KEYS
from simba_music.training.corpus.composing.plan import Plan
from simba_music.training.corpus.composing.theory import BRIGHT
from simba_music.training.corpus.rendering.production import produce
from simba_music.training.corpus.tables import instruments

GRID_S = 0.5  # crops are a multiple of this long
LONGEST_S, SHORTEST_S = 30.0, 10.0
TAIL_S = 1.5  # for the last notes to ring
EARLY_S = 0.03  # humanised notes may start before their bar
HEARD_S = 0.3  # what sounds for less is neither named nor denied
TEMPO_WORDS = ((70, "slow"), (108, "medium"), (138, "upbeat"), (1000, "fast"))
DRUM_WORDS = {
    "kick": "kick", "snare": "snare", "rim": "rimshot", "brush": "brushes", "clap": "claps",
    "hat": "hi-hats", "open": "hi-hats", "pedal": "hi-hats", "crash": "cymbals", "ride": "cymbals",
    "tom": "toms", "tom_low": "toms", "tambourine": "tambourine", "cowbell": "cowbell",
    "bongo": "bongos", "conga": "congas", "conga_low": "congas", "shaker": "shakers",
    "claves": "claves",
}  # fmt: skip
_DRUM_NAMES = {key: DRUM_WORDS[name] for name, key in DRUM_KEYS.items() if name != "brush"}


def tempo_word(tempo: float) -> str:
    """Word for a tempo in beats a minute."""
    return next(word for limit, word in TEMPO_WORDS if tempo < limit)


def energy(tempo: float, dynamics: str, density: str, drums: bool) -> int:
    """Arousal from 0 (calm) to 3 (excited), from tempo, loudness, density and drums."""
    points = (tempo >= 100) + (tempo >= 138) + (dynamics == "loud") - (dynamics == "soft")
    points += (density == "busy") - (density == "sparse") + drums
    return max(0, min(3, points))


def mood(mode: str, arousal: int) -> str:
    """Mood by valence (mode) and arousal, after Russell's circumplex (1980)."""
    words = (
        ("calm", "relaxed", "happy", "joyful")
        if mode in BRIGHT
        else ("sad", "melancholic", "moody", "tense")
    )
    return words[arousal]


def crop_spans(draft: Draft, sounds_until_s: float) -> list[tuple[float, float]]:
    """(start, end) in seconds: the whole piece, or crops of 10 to 30 s cut where phrases start.

    Together they cover the piece; lengths are multiples of 0.5 s.
    """
    rng = random.Random(f"crops{draft.plan.seed}")
    total_s = _up(sounds_until_s + TAIL_S)
    starts = [0.0]
    while total_s - starts[-1] > LONGEST_S:
        wish = starts[-1] + rng.uniform(12, 26)
        options = []
        for bar in draft.bars[1:]:
            at = round(draft.seconds(bar.start) - EARLY_S, 2)
            length = at - starts[-1]
            if SHORTEST_S <= length <= LONGEST_S and total_s - at >= SHORTEST_S:
                phrase = 0 if bar.within == 0 else 2 if bar.within % 4 == 0 else 6
                # A cut inside a phrase costs as much as one that misses the wished length by 24 s.
                options.append((phrase + abs(at - wish) / 4, at))
        if not options:  # a bar longer than what is left to choose from
            options = [(0.0, round(starts[-1] + (total_s - starts[-1]) / 2, 2))]
        starts.append(min(options)[1])
    spans = []
    for i, start in enumerate(starts):
        if i + 1 < len(starts):
            length = math.floor((starts[i + 1] - start) / GRID_S) * GRID_S
        else:
            length = min(LONGEST_S, _up(total_s - start))
        spans.append((start, round(start + length, 2)))
    return spans


def _up(seconds: float) -> float:
    return math.ceil(seconds / GRID_S - 1e-9) * GRID_S


def piece_facts(score: pretty_midi.PrettyMIDI, draft: Draft) -> dict[str, Any]:
    """The manifest row of a piece: its own facts and those of its crops."""
    plan = draft.plan
    spans = crop_spans(draft, score.get_end_time())
    form, at = [], 0
    for section in plan.sections:
        form.append({"section": section.name, "start_s": round(draft.seconds(at), 2)})
        at += len(section.bars) * plan.steps
    return {
        "id": str(plan.seed),
        "seed": plan.seed,
        "split": plan.split,
        "duration_s": spans[-1][1],
        "genre": plan.genre,
        "tempo": plan.tempo,
        "metre": plan.metre,
        "key": NOTES[plan.key],
        "mode": plan.mode,
        "lineup": plan.lineup,
        "form": form,
        **_source(plan),
        "crops": [crop_facts(score, draft, start, end, spans[-1][1]) for start, end in spans],
    }


def _source(plan: Plan) -> dict[str, str]:
    """What accompanies, where it is not the composer, and the licence of such pieces."""
    if plan.accompaniment == "own":
        return {}
    return {"accompaniment": plan.accompaniment, "licence": "Apache-2.0"}


class _Heard(NamedTuple):
    """What sounds in a crop: who plays, the notes that begin in it, and of which percussion."""

    roles: dict[str, str]
    onsets: int
    pitched: list[pretty_midi.Note]
    lead: list[pretty_midi.Note]
    percussion: set[str]


def _hear(score: pretty_midi.PrettyMIDI, plan: Plan, start_s: float, end_s: float) -> _Heard:
    """Parts that sound for long enough in [start_s, end_s), seconds, to be named."""
    roles, onsets, percussion = dict[str, str](), 0, set[str]()
    pitched: list[pretty_midi.Note] = []
    lead: list[pretty_midi.Note] = []
    for part in score.instruments:
        role, name = part.name.split(":")
        notes = [n for n in part.notes if n.start < end_s and n.end > start_s]
        heard_s = sum(min(n.end, end_s) - max(n.start, start_s) for n in notes)
        begun = [n for n in notes if n.start >= start_s - EARLY_S]
        if heard_s < HEARD_S or (part.is_drum and len(begun) < 3):
            continue
        roles[role] = name
        onsets += len({round(n.start, 1) for n in begun})
        if part.is_drum:
            percussion = _percussion(plan, begun)
        else:
            pitched += begun
            lead = begun if role in ("melody", "arpeggio") and not lead else lead
    return _Heard(roles, onsets, pitched, lead, percussion)


def crop_facts(
    score: pretty_midi.PrettyMIDI, draft: Draft, start_s: float, end_s: float, piece_s: float
) -> dict[str, Any]:
    """Facts of the crop [start_s, end_s) in seconds; instruments are those that sound in it.

    All times are in seconds from the beginning of the piece.

    Raises:
        ValueError: If nothing sounds in the crop.
    """
    plan = draft.plan
    heard = _hear(score, plan, start_s, end_s)
    if not heard.roles:
        raise ValueError(f"Nothing sounds between {start_s} s and {end_s} s of this score.")
    drums, ends = "drums" in heard.roles, end_s >= piece_s
    rate = heard.onsets / (end_s - start_s) / len(heard.roles)
    density = "sparse" if rate < 1.1 else "busy" if rate > 3.6 else "moderate"
    arousal = energy(plan.tempo, plan.dynamics, density, drums)
    names = [s.name for s in plan.sections]
    return {
        "start_s": start_s,
        "end_s": end_s,
        "whole": start_s == 0 and ends,
        "ends": ends,
        "genre": plan.genre,
        "tempo": plan.tempo,
        "tempo_word": tempo_word(plan.tempo if plan.metre != "6/8" else plan.tempo * 1.5),
        "metre": plan.metre,
        "key": NOTES[plan.key],
        "mode": plan.mode,
        "chords": chord_facts(draft, start_s, end_s),
        "mood": mood(plan.mode, arousal),
        "energy": arousal,
        "dynamics": plan.dynamics,
        "articulation": _articulation(heard.lead),
        **_players(heard, drums),
        "silent": _silent(score, start_s, end_s),
        "onsets_per_s": round(rate, 2),
        "density": density,
        "register": _register(heard.lead or heard.pitched),
        "features": _features(plan, heard.roles),
        "form": [n for n in names if n != "ending"] if start_s == 0 and ends else [],
        "slows_down": ends and plan.ritardando,
        **produce(plan).facts(),
    }


def chord_facts(draft: Draft, start_s: float, end_s: float) -> list[list[Any]]:
    """`[[start_s, symbol], ...]`: the chords of [start_s, end_s), seconds, as the piece counts.

    One entry a bar and one more where the chord changes inside it, so a chord that stays is
    repeated; each holds until the next, the last until `end_s`. The first stands at `start_s`
    even if it began earlier. Bars without a pitched part have `NO_CHORD`.
    """
    plan, found = draft.plan, list[list[Any]]()
    key = Key(plan.key, plan.mode)
    for bar in draft.bars:
        sounds = bool(bar.section.roles - {"drums"})
        for step, _, harmony in bar.chords:
            at = round(draft.seconds(bar.start + step), 3)
            root = (harmony.root + plan.key) % 12
            symbol = chord_symbol(root, harmony.shape, key) if sounds else NO_CHORD
            if at <= start_s + 2 * EARLY_S:
                found = [[start_s, symbol]]
            elif at < end_s:
                found.append([at, symbol])
    return found


def _players(heard: _Heard, drums: bool) -> dict[str, Any]:
    """Who plays, and how many they are."""
    voices = sorted({name for role, name in heard.roles.items() if role != "drums"})
    return {
        "roles": heard.roles,
        "instruments": voices,
        "drums": drums,
        "percussion": sorted(heard.percussion),
        "texture": {1: "solo", 2: "duo", 3: "trio"}.get(len(voices) + drums, "band"),
    }


def _register(notes: list[pretty_midi.Note]) -> str:
    """Where the notes lie on average."""
    centre = sum(n.pitch for n in notes) / max(1, len(notes))
    return "low" if centre < 53 else "high" if centre > 74 else "middle"


def _percussion(plan: Plan, notes: list[pretty_midi.Note]) -> set[str]:
    """Words for the percussion that is hit at least twice."""
    names = _DRUM_NAMES | ({DRUM_KEYS["snare"]: "brushes"} if plan.groove == "brushes" else {})
    words = [names[n.pitch] for n in notes]
    return {word for word in words if words.count(word) >= 2}


def _silent(score: pretty_midi.PrettyMIDI, start_s: float, end_s: float) -> list[str]:
    """Families of which not one note sounds, drums among them: what may be denied."""
    families = {i.family for i in instruments().values()} | {"drums"}
    for part in score.instruments:
        if any(n.start < end_s and n.end > start_s - 1 for n in part.notes):
            role, name = part.name.split(":")
            voice = instruments().get(name)
            families -= {voice.family, *voice.near} if voice else {"drums"}
            if role == "bass":
                families.discard("bass")
    return sorted(families)


def _articulation(notes: list[pretty_midi.Note]) -> str:
    """Legato, staccato or detached, by the share of the time to the next note that sounds."""
    shares = []
    for note, following in zip(notes, notes[1:], strict=False):
        gap = following.start - note.start
        if gap > 0.05:
            shares.append(min(1.2, (note.end - note.start) / gap))
    if len(shares) < 3:
        return "unknown"
    middle = sorted(shares)[len(shares) // 2]
    return "legato" if middle > 0.93 else "staccato" if middle < 0.6 else "detached"


def _features(plan: Plan, roles: dict[str, str]) -> list[str]:
    """What is played, beyond who plays."""
    found = []
    guitar = instruments()[roles["chords"]].family == "guitar" if "chords" in roles else False
    if "bass" in roles and plan.bass_line == "walking":
        found.append("walking bass")
    if "arpeggio" in roles:
        found.append("arpeggio")
    if guitar and plan.comping in ("strum", "pulse", "block"):
        found.append("strumming")
    if "chords" in roles and plan.comping in ("offbeat", "skank"):
        found.append("offbeat chords")
    if "drums" in roles and plan.groove in ("house", "techno", "disco"):
        found.append("four on the floor")
    if "drums" in roles and plan.groove in ("trap", "hiphop", "electro"):
        found.append("programmed drums")
    if plan.style.swing and {"bass", "drums"} & set(roles):
        found.append("swing")
    if "pad" in roles or ("chords" in roles and plan.comping == "sustain"):
        found.append("sustained chords")
    if plan.style.harmony in ("drone", "vamp") or plan.genre == "minimalism":
        found.append("repetitive")
    if plan.style.harmony == "drone":
        found.append("drone")
    return found
