"""Denials: what a prompt refuses is never asked for, and goes to the negative side."""

import pytest
import torch
from conftest import lm_config, random_lm

from simba_music.conditioning.beat import Beat, Pulse
from simba_music.conditioning.chords import Chords
from simba_music.conditioning.key import Key, KeySignature
from simba_music.conditioning.line_up import LineUp, named_instruments
from simba_music.conditioning.reading.denials import asked_for, denials, refused
from simba_music.conditioning.request import Request
from simba_music.conditioning.text import Text
from simba_music.generation.decoding import read_requests
from simba_music.hub.places import BUNDLED
from simba_music.models.checkpoint import read_config
from simba_music.models.text_encoder import TextEncoder

NAMES = read_config(BUNDLED / "simba")[0].conditions["line_up"].names


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("no drums, bass or guitar, just piano", ["piano"]),
        ("without piano and drums", []),
        ("neither drums nor bass, only oboe", ["oboe"]),
        ("do not use drums, harp", ["harp"]),
        ("don't use any drums, strings only", ["strings"]),
        ("don’t use any drums, strings only", ["strings"]),
        ("avoid drums; use harp", ["harp"]),
        ("everything except drums", []),
        ("remove the drums", []),
        ("free of drums, harp", ["harp"]),
        ("music with no beat or drums", []),
        ("without any kind of percussion, harp", ["harp"]),
        ("drums: none, piano: yes", ["piano"]),
        ("drum-less flute", ["flute"]),
        ("drumless flute", ["flute"]),
        ("leave out the drums and the harp", []),
        ("flute rather than drums", ["flute"]),
    ],
)
def test_drums_that_are_refused_are_never_named_and_their_absence_is(prompt, wanted):
    for of_prompt in (False, True):
        titles = [NAMES[i][0] for i in named_instruments(prompt, NAMES, of_prompt)]
        assert "drum kit" not in titles
        assert titles == [*wanted, *(["drumless"] if "drum" in prompt or "perc" in prompt else [])]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("guitar instead of piano", ["piano"]),
        ("piano-free string quartet", ["piano"]),
        ("no sad piano, happy flute", ["sad piano"]),
        ("no drums, harp", ["drums"]),
        ("no drums, piano and strings", ["drums"]),
        ("without drums, bass and guitar", ["drums", "bass", "guitar"]),
        ("without drums, slow and sad", ["drums"]),
        ("no drums and a soft piano", ["drums"]),
        ("no sudden changes", ["sudden changes"]),
        ("not only piano but also strings", []),
        ("nothing but piano", []),
        ("no other instruments", []),
        ("no accompaniment except a harp", ["accompaniment"]),
        ("fretless bass and wordless choir, endless", []),
        ("symphony no. 40 in three parts", []),
        ("ska: off-beat guitar", []),
        ("no", []),
        ("", []),
    ],
)
def test_a_denial_reaches_over_its_list_and_no_further(text, items):
    assert [denial.item for denial in denials(text)] == items
    assert len(asked_for(text)) == len(text)
    assert all(denial.item in text[denial.start : denial.end] for denial in denials(text))


def test_the_negative_side_has_what_is_refused():
    assert refused("harp, no drums", "fast") == "fast, drums"
    assert refused("harp, no drums or bass") == "drums, bass"
    assert refused("harp", "no drums") == "drums"  # a negative prompt names what is not wanted
    assert refused("harp", "fast drums, loud") == "fast drums, loud"
    request = Request("harp, no drums", draw=False)
    assert Text(states=8).from_negative(request) == "drums"
    line_up = LineUp(names=NAMES)
    assert [NAMES[i][0] for i in line_up.from_prompt(request)] == ["harp", "drumless"]
    assert [NAMES[i][0] for i in line_up.from_negative(request)] == ["drum kit"]
    assert line_up.from_negative(Request("drums, no snare")) is None  # the rest of them is wanted


def test_the_negative_side_has_the_tempo_key_and_chords_that_are_refused():
    request = Request("harp, 90 bpm, D major, chords: C F", negative="140 bpm, A minor, chords G D")
    assert Beat().from_negative(request) == Pulse(140.0)
    assert KeySignature().from_negative(request) == Key(9, "minor")
    assert Chords().from_negative(request).symbols == ("G", "D")
    plain = Request("harp, 90 bpm, D major, chords: C F", negative="loud")
    assert Beat().from_negative(plain) == Pulse(90.0)
    assert KeySignature().from_negative(plain) == Key(2, "major")
    assert Chords().from_negative(plain).symbols == ("C", "F")
    assert Beat().from_negative(Request("90 bpm, not fast")) == Pulse(155.0)
    assert Beat().from_prompt(Request("no fast drums")) is None


def test_a_model_gets_no_condition_for_what_is_refused():
    lm = random_lm(lm_config("simba", conditions={"line_up": {"names": NAMES}}))
    encoder = TextEncoder.load(lm.config.text_encoder)
    found = read_requests(lm.config, encoder, [Request("flute without drums, piano and harp")])
    asked, unwanted = found.values["line_up"]
    assert [NAMES[i][0] for i in asked] == ["flute", "drumless"]
    assert [NAMES[i][0] for i in unwanted] == ["harp", "piano", "drum kit"]
    assert torch.equal(found.null, torch.tensor([False, False]))
