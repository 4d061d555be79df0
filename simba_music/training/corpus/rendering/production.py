"""Production: how a piece is recorded and mixed, decided from its seed before it is rendered."""

import random
from dataclasses import dataclass
from typing import Any

from simba_music.training.corpus.composing.plan import ROLES, Plan

FONTS = 2  # soundfonts to choose from
# Levels of the roles in dB beside the tune's.
LEVELS_DB = {
    "melody": 0.0, "counter": -4.0, "chords": -4.0, "arpeggio": -4.0, "pad": -6.0, "bass": -2.0,
    "drums": -1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Production:
    """Space and sound of a recording.

    `space` is dry, room or hall; `quality` is clean, lofi (dark, worn, crackling) or live (boxy,
    hissing, as a room recorded with one microphone); `tilt_db` tilts the spectrum from 100 Hz to
    10 kHz; `drive` saturates (0 to 1).
    """

    seed: int  # of the noise
    space: str
    quality: str
    wet: float  # reverberation over direct sound
    decay_s: float  # time to -60 dB
    tilt_db: float
    drive: float
    noise_db: float  # below the music
    soundfont: int
    levels_db: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """What can be said of it."""
        tone = "bright" if self.tilt_db > 2.5 else "dark" if self.tilt_db < -2.5 else "neutral"
        return {"space": self.space, "quality": self.quality, "tone": tone, "channels": "mono"}


def produce(plan: Plan) -> Production:
    """The production of a piece; the same seed gives the same."""
    rng = random.Random(f"production{plan.seed}")
    chances = plan.style.production
    kind = rng.choices(list(chances), list(chances.values()))[0]
    space = {"lofi": "room", "live": "room"}.get(kind, kind)
    decay_s = {"dry": 0.25, "room": rng.uniform(0.4, 0.9), "hall": rng.uniform(1.4, 2.8)}[space]
    wet = {"dry": 0.03, "room": rng.uniform(0.1, 0.2), "hall": rng.uniform(0.22, 0.4)}[space]
    if kind == "live":
        wet, decay_s = rng.uniform(0.3, 0.45), rng.uniform(0.6, 1.0)
    return Production(
        seed=plan.seed,
        space=space,
        quality=kind if kind in ("lofi", "live") else "clean",
        wet=wet,
        decay_s=decay_s,
        tilt_db=rng.uniform(-7, -4) if kind == "lofi" else rng.uniform(-4, 4),
        drive=rng.uniform(0.3, 0.6) if kind == "lofi" else rng.choice((0.0, 0.0, 0.1, 0.25)),
        noise_db=rng.uniform(26, 36),
        soundfont=rng.randrange(FONTS),
        levels_db={role: LEVELS_DB[role] + rng.uniform(-2, 2) for role in ROLES},
    )
