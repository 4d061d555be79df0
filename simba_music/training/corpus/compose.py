"""Composer: a seed becomes a whole piece, with form, harmony, motifs, bass, groove and ending."""

import pretty_midi

from simba_music.training.corpus.accompaniment import (
    write_arpeggio,
    write_bass,
    write_chords,
    write_pad,
)
from simba_music.training.corpus.draft import Draft
from simba_music.training.corpus.drums import write_drums
from simba_music.training.corpus.melody import write_counter, write_melody
from simba_music.training.corpus.plan import Plan, plan_piece


def compose(seed: int) -> tuple[pretty_midi.PrettyMIDI, Plan, Draft]:
    """Compose one piece; the same seed gives the same notes.

    Returns:
        The score, one MIDI track a part named `role:instrument`; the plan behind it; and the
        draft, which knows when each bar starts.
    """
    plan, rng = plan_piece(seed)
    draft = Draft(plan, rng)
    roles = {role for section in plan.sections for role in section.roles}
    if "melody" in roles:
        write_melody(draft, rng)
    if "counter" in roles:
        write_counter(draft, rng)
    if "chords" in roles:
        write_chords(draft, rng)
    if "arpeggio" in roles:
        write_arpeggio(draft, rng)
    if "pad" in roles:
        write_pad(draft)
    if "bass" in roles:
        write_bass(draft, rng)
    if "drums" in roles:
        write_drums(draft, rng)
    return draft.score(), plan, draft
