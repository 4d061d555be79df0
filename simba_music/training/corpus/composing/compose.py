"""Composer: a seed becomes a whole piece, with form, harmony, motifs, bass, groove and ending."""

from collections.abc import Callable, Mapping
from typing import Any

import pretty_midi

from simba_music.training.corpus.composing.accompaniment import (
    write_arpeggio,
    write_bass,
    write_chords,
    write_pad,
)
from simba_music.training.corpus.composing.draft import Draft
from simba_music.training.corpus.composing.drums import write_drums
from simba_music.training.corpus.composing.melody import write_counter, write_melody
from simba_music.training.corpus.composing.mma import Accompaniment, accompany, groove_of
from simba_music.training.corpus.composing.plan import Plan, plan_piece

# In this order: the counter-melody is written against the melody's notes.
WRITERS: dict[str, Callable[[Draft], None]] = {
    "melody": write_melody,
    "counter": write_counter,
    "chords": write_chords,
    "arpeggio": write_arpeggio,
    "pad": write_pad,
    "bass": write_bass,
    "drums": write_drums,
}


def compose(
    seed: int, accompaniment: Accompaniment = "own"
) -> tuple[pretty_midi.PrettyMIDI, Plan, Draft]:
    """Compose one piece; the same seed gives the same notes.

    With "mma", three in four of the pieces that have a groove are accompanied by it.

    Returns:
        The score, one MIDI track a part named `role:instrument`; the plan behind it; and the
        draft, which knows when each bar starts.
    """
    plan, rng = plan_piece(seed)
    draft = Draft(plan, rng)
    playing = {role for section in plan.sections for role in section.roles}
    for role, write in WRITERS.items():
        if role in playing:
            write(draft)
    groove = groove_of(plan) if accompaniment == "mma" else None
    if groove is not None:
        accompany(draft, groove)
    return draft.score(), draft.plan, draft


def compose_again(row: Mapping[str, Any]) -> tuple[pretty_midi.PrettyMIDI, Plan, Draft]:
    """The piece of a manifest row once more, with the accompaniment that it says.

    Raises:
        RequestError: If that is mma's, which is not installed.
    """
    borrowed = str(row.get("accompaniment", "own")).startswith("mma ")
    return compose(row["seed"], "mma" if borrowed else "own")
