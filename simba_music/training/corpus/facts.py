"""Facts of a crop: what sounds between two times of a score, read from its notes."""

from typing import Any

import pretty_midi

from simba_music.training.corpus.plan import KEYS, Plan

TEMPO_WORDS = ((72, "slow"), (104, "mid-tempo"), (136, "upbeat"), (1000, "fast"))


def tempo_word(tempo: float) -> str:
    """Word for a tempo in beats per minute."""
    return next(word for limit, word in TEMPO_WORDS if tempo < limit)


def mood(mode: str, tempo: float, dynamics: str) -> str:
    """Mood by valence (mode) and arousal (tempo, dynamics), after Russell's circumplex."""
    bright = mode in ("major", "mixolydian", "pentatonic")
    arousal = (tempo >= 100) + (tempo >= 136) + (dynamics == "loud") - (dynamics == "soft")
    if arousal <= 0:
        return "calm" if bright else "sad"
    if arousal == 1:
        return "happy" if bright else "melancholic"
    return "joyful" if bright else "tense"


def crop_facts(
    score: pretty_midi.PrettyMIDI, plan: Plan, start_s: float, end_s: float
) -> dict[str, Any]:
    """Facts of the crop [start_s, end_s) in seconds; instruments are those that sound in it.

    Raises:
        ValueError: If nothing sounds in the crop.
    """
    roles: dict[str, str] = {}
    pitches: list[int] = []
    onsets = 0
    for part in score.instruments:
        sounding = [n for n in part.notes if n.start < end_s - 0.05 and n.end > start_s + 0.05]
        if not sounding:
            continue
        role, name = part.name.split(":")
        roles[role] = name
        onsets += len({round(n.start, 1) for n in sounding if n.start >= start_s})
        if role != "drums":
            pitches += [n.pitch for n in sounding]
    if not roles:
        raise ValueError(f"Nothing sounds between {start_s} s and {end_s} s of this score.")
    rate = onsets / (end_s - start_s)
    centre = sum(pitches) / max(1, len(pitches))
    voices = sorted({name for role, name in roles.items() if role != "drums"})
    return {
        "start_s": start_s,
        "end_s": end_s,
        "genre": plan.genre,
        "tempo": plan.tempo,
        "tempo_word": tempo_word(plan.tempo),
        "metre": plan.metre,
        "key": KEYS[plan.key],
        "mode": plan.mode,
        "mood": mood(plan.mode, plan.tempo, plan.dynamics),
        "dynamics": plan.dynamics,
        "roles": roles,
        "instruments": voices,
        "drums": "drums" in roles,
        "texture": "solo"
        if len(voices) == 1 and "drums" not in roles
        else "duo"
        if len(voices) == 2 and "drums" not in roles
        else "ensemble",
        "onsets_per_s": round(rate, 2),
        "density": "sparse" if rate < 2 else "busy" if rate > 7 else "moderate",
        "register": "low" if centre < 52 else "high" if centre > 72 else "middle",
    }
