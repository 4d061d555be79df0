"""Reading: all that is read from a prompt, on sentences with what should be read, and fuzzed."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simba_music.__main__ import main
from simba_music.conditioning.batch import texts_of
from simba_music.conditioning.chord_symbols import QUALITIES, pitch_classes
from simba_music.conditioning.reading.measure import FIELDS, measure, read_expected
from simba_music.conditioning.reading.metres import KNOWN
from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.generation.loaded_models import Reader

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "prompts"
PAGE = ROOT / "docs" / "prompts.md"


@pytest.fixture(scope="module")
def reader():
    return Reader.of_checkpoints(["simba", "transformer"])


@pytest.mark.parametrize("name", ["untuned", "fresh", "tuned"])
def test_prompts_are_read_as_their_writer_meant_them(reader, name):
    expected = read_expected((DATA / f"{name}.jsonl").read_text(), name)
    found = measure(expected, reader.parse)
    assert set(found) == set(FIELDS)
    for condition, one in found.items():
        assert one.precision >= 0.95 and one.recall >= 0.95, (condition, one.mistakes)


def test_there_are_as_many_sentences_as_are_said():
    counts = {p.stem: len(p.read_text().splitlines()) for p in DATA.glob("*.jsonl")}
    assert sum(counts.values()) >= 150 and counts["untuned"] >= 75


def test_precision_and_recall_count_what_is_wrong_and_what_is_missed(reader):
    expected = read_expected(
        '{"prompt": "piano, 90 bpm", "wanted": ["piano", "harp"]}\n\n{"prompt": "flute"}', "x"
    )
    found = measure(expected, reader.parse)
    assert found["wanted"][:3] == (1, 1, 1) and found["wanted"].precision == 0.5
    assert found["tempo"][:3] == (0, 1, 0) and found["tempo"].precision == 0.0
    assert found["key"].precision == found["key"].recall == 1.0
    assert "'flute'" in found["wanted"].mistakes[1]
    for bad in ("", "no json", '{"prompt": "x", "speed": 3}', '{"wanted": []}'):
        with pytest.raises(RequestError):
            read_expected(bad, "file")


@pytest.mark.parametrize(
    ("prompt", "cannot"),
    [
        ("female singer, lyrics in Spanish", ["vocals", "lyrics", "language: Spanish"]),
        ("instrumental, no vocals", []),
        ("wordless choir", []),
        ("in the style of Bossa Nova", []),
        ("something like Daft Punk", ["artist: Daft Punk"]),
        ("sounds like The Invented Band", ["artist: Invented Band"]),
        ("11/8 groove with 4/4 bars", ["metre: 11/8"]),
        ("rain over soft piano", ["sound: rain"]),
        ("a song about rain", []),
        ("ukulele", ["instrument: ukulele"]),
        ("C lydian", ["scale: lydian"]),
        ("chords: Am F C G", ["chords: no model here is conditioned on them"]),
    ],
)
def test_what_cannot_be_done_is_named(reader, prompt, cannot):
    assert list(reader.read(prompt).cannot) == cannot


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("asdf qwer zxcv", "few of these words"),
        ("xkcd blorf wibble", "few of these words"),
        ("Eine traurige Melodie mit Klavier", "English"),
        ("une musique lente avec piano", "English"),
        ("悲しいピアノ", "English"),
        ("грустное пианино", "English"),
        ("?!", "no words"),
        ("calm piano", ""),
        ("upbeat funk with slap bass, brass section and drums", ""),
        ("dystopian skyline memories", ""),
        ("128 bpm", ""),
    ],
)
@pytest.mark.fault("P7", "nonsense and other languages get a note")
def test_nonsense_and_other_languages_get_a_note(reader, prompt, said):
    note = reader.read(prompt).note
    assert said in note and bool(note) == bool(said)


def test_the_command_prints_it(capsys):
    prompt = "sad piano in a minor, 120-130 bpm, no drums, 6/8"
    assert main(["read", prompt, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "wanted": ["piano"],
        "denied": ["drums"],
        "tempo": 125.0,
        "key": "A minor",
        "metre": "6/8",
        "chords": [],
        "cannot": [],
        "note": "",
        "drawn": {},
    }
    assert main(["read", "loud music", "--seed", "3"]) == 0
    assert re.search(r"drawn   \d+ bpm, \w", capsys.readouterr().out)
    assert main(["read", "loud music", "--no-draw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drawn"] == {}
    assert main(["read", "--file", str(DATA / "fresh.jsonl")]) == 0
    assert "wanted" in capsys.readouterr().out
    assert main(["read"]) == 2 and main(["read", "x", "--file", "y"]) == 2
    assert main(["read", "--file", "missing.jsonl"]) == 2


def rows(heading):
    """(examples, readings) of a table of the page: code in its first and second column."""
    text = PAGE.read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    for line in text.splitlines():
        cells = line.split("|")[1:-1]
        if len(cells) == 2 and "`" in cells[0]:
            yield re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]*)`", cells[1])


def test_the_page_says_what_is_read(reader):
    seen = 0
    for examples, (field, value) in rows("Notation"):
        for example in examples:
            found = getattr(reader.parse(example), field)
            if isinstance(found, tuple):
                found = (" " if field == "chords" else ", ").join(found)
            shown = f"{found:g}" if isinstance(found, float) else str(found or "")
            assert shown == value, (example, field)
            seen += 1
    assert seen >= 60


def test_the_page_lists_metres_and_chords():
    text = PAGE.read_text()
    assert all(f"`{sign}`" in text for sign in KNOWN)
    for quality in QUALITIES:
        assert f"`C{quality}`" in text
        assert pitch_classes(f"C{quality}")[0] == 0


PIECES = st.sampled_from(
    "no not without neither nor except instead of free of -free -less : none a minor A min Cmaj7 "
    "G13 Cmmaj7 Am | - ii-V-I in D ♩ = 60 120-130 bpm b.p.m. dotted quarter 6/8 13/8 0/0 999 bpm "
    "drums drumless piano guitar and or , ; . ( ) [ \" ' ’ — not only nothing but replace with "
    "\x00 \ud800 \u202e 🎹 ピアノ ñ 1e9 -5 +++ {} %s \\ <b> chords: key of slow fast rubato".split(
        " "
    )
)
PROMPTS = st.one_of(
    st.text(max_size=300),
    st.lists(PIECES, max_size=40).map(" ".join),
    st.from_regex(r"[A-G#b/m7 |-]+"),
)


@settings(
    max_examples=300,
    derandomize=True,  # the same 300 every time
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(prompt=PROMPTS, negative=PROMPTS, seed=st.integers(0, 2**32 - 1))
def test_no_prompt_ends_in_a_traceback(reader, prompt, negative, seed):
    try:
        reading = reader.read(prompt, seed)
    except RequestError:  # a sentence: there is a control character in it
        return
    json.dumps(reading.as_dict()).encode()
    assert not set(reading.wanted) & set(reading.denied)
    reader.parse(prompt)
    request = Request(prompt, seed=seed, negative=negative)
    for conditions in reader.models:
        texts_of(conditions, [request], True)
        for condition in conditions.values():
            condition.from_negative(request)
            value = condition.wanted(request)
            if value is not None:
                assert isinstance(condition.describe(value), str)
