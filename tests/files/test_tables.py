"""Tables that people bring: every way of writing one is read, or refused with its line."""

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simba_music.errors import RequestError
from simba_music.files.tables import read_table
from simba_music.generation.prompt_files import read_batch, read_prompts
from simba_music.training.corpus.own.wanted import read_captions

FUZZED = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def by_evaluate(path):
    return [prompt.text for prompt in read_prompts(path, lambda text: 1, 256)[0]]


def by_generate(path):
    return [row["prompt"] for row in read_batch(path).values()]


def by_import(path):
    wanted, problems = read_captions(path)
    assert not problems
    return [caption for entry in wanted for caption in entry.captions]


READERS = {
    "generate": ("id,prompt", by_generate),
    "import": ("file,caption", by_import),
    "evaluate": ("id,prompt", by_evaluate),
}
EVERY_READER = pytest.mark.parametrize("reader", READERS)


def written(tmp_path, reader, body, encoding="utf-8", change=lambda text: text, name="t.csv"):
    path, (head, read) = tmp_path / name, READERS[reader]
    path.write_bytes(change(head + "\n" + body).encode(encoding))
    return path, read


@EVERY_READER
@pytest.mark.parametrize(
    ("encoding", "change"),
    [
        ("utf-8-sig", str),
        ("utf-16", str),
        ("utf-32", str),
        ("cp1252", str),
        ("utf-8", lambda text: text.replace(",", ";")),
        ("utf-8", lambda text: text.replace(",", " ; ")),
        ("utf-8", lambda text: text.replace(",", "\t")),
        ("utf-8", lambda text: text.replace(",", "|")),
        ("utf-8", lambda text: "sep=;\n" + text.replace(",", ";")),
        ("utf-8", lambda text: text.replace("\n", "\r\n")),
        ("utf-8", lambda text: text.replace("\n", "\r")),
        ("utf-8", lambda text: text[:7].upper().replace(",", " , ") + text[7:]),
        ("utf-8", lambda text: text.replace("\n", "\n,\n\n") + ",,,\n"),
        ("utf-8", lambda text: text.replace("\n", ",\n")),
    ],
)  # fmt: skip
def test_every_way_of_writing_a_table_is_read(tmp_path, reader, encoding, change):
    path, read = written(tmp_path, reader, "a1,café jazz\nb2,flute\n", encoding, change)
    assert read(path) == ["café jazz", "flute"]


@EVERY_READER
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("b2,flute\na1,calm piano, slow, sad\n", r"line 3 has 4 fields, the header has 2.*quotes"),
        ('a1,"calm piano\nb2,flute\nc3,drums\n', r"line 2: a double quote is opened"),
        ('z,x\n\na1,"calm" piano\n', r"line 4: "),
        ('a1,"calm piano\nb2,"flute"\n', r"line 2: "),
        ("a1,calm\x00 piano\n", r"line 2 holds the byte 0"),
    ],
)
def test_what_would_be_silently_wrong_is_refused_with_its_line(tmp_path, reader, body, said):
    path, read = written(tmp_path, reader, body)
    with pytest.raises(RequestError, match=said):
        read(path)


def test_quotes_and_lines_within_them_are_kept(tmp_path):
    path, _ = written(tmp_path, "evaluate", 'a1, "calm, 12"" drum\nslow"\nb2,x\n')
    rows = read_table(path).rows
    assert [(row.line, row.values["prompt"]) for row in rows] == [
        (2, 'calm, 12" drum\nslow'),
        (4, "x"),
    ]


FIRST, SECOND = (
    f'{{"id": "{name}", "file": "{name}", "prompt": "{text}"}}'
    for name, text in (("a1", "harp"), ("b2", "flute"))
)


@EVERY_READER
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.jsonl", '{"ID": "a1", "file": "a", "Prompt": "harp", "n": [1]}\n\n' + SECOND),
        ("p.ndjson", '{"id": 1, "file": 1, "text": "harp"}\n{"id": 2, "file": 2, "text": "flute"}'),
        ("p.json", f"[{FIRST}, {SECOND}]"),
        ("p.json", f'{{"prompts": [{FIRST}, {SECOND}]}}'),
        ("p.tsv", "id\tfile\tprompt\na1\ta\tharp\nb2\tb\tflute\n"),
    ],
)  # fmt: skip
def test_json_and_tsv_are_read_by_their_keys(tmp_path, reader, name, text):
    (tmp_path / name).write_text(text)
    assert READERS[reader][1](tmp_path / name) == ["harp", "flute"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.json", '["harp", 3]', "entry 2 must be an object"),
        ("p.json", "{", "is not JSON"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.jsonl", '{"prompt": "x"}\n{"prompt"', "line 2 is not JSON"),
        ("p.json", '[{"prompt": ["x", "y"]}]', "entry 1: prompt must be a text, got list"),
        ("p.json", '[{"prompt": "\\ud800"}]', "entry 1 holds a character"),
        ("p.csv", "id,prompt,Prompt \n1,x,y\n", "column prompt twice"),
        ("p.csv", "PK\x03\x04", "spreadsheet or an archive"),
        ("p.txt", '{"title": "x"}', "it needs one of prompt"),
    ],
)
def test_what_is_no_table_of_prompts_says_why(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError, match=said):
        by_evaluate(tmp_path / name)


def test_windows_1252_is_told_and_other_alphabets_are_refused(tmp_path, caplog):
    path = tmp_path / "p.txt"
    path.write_bytes("Größer, schöner – Walzer\n".encode("cp1252"))
    with caplog.at_level(logging.WARNING):
        assert by_evaluate(path) == ["Größer, schöner – Walzer"]
    assert "read as Windows-1252" in caplog.text
    for text, encoding in (("спокойное пианино", "cp1251"), ("静かなピアノ", "shift-jis")):
        path.write_bytes(text.encode(encoding))
        with pytest.raises(RequestError, match="not UTF-8.*iconv"):
            by_evaluate(path)


FIELD = st.text(st.sampled_from("ab,;\t\"'\n\r é|{}[]:0\\"), max_size=8)


@FUZZED
@given(
    st.one_of(
        st.lists(st.lists(FIELD, max_size=4).map(",".join), max_size=6).map("\n".join),
        st.text(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_subnormal=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["id", "prompt", "file", "caption"]), inner)
            ),
        ).map(json.dumps),
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1", "utf-7"]),
    st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".txt"]),
    st.sampled_from(["", "id,prompt\n", "file,caption,split\n", "id;prompt\n", "sep=;\n"]),
    st.binary(max_size=4),
)
def test_no_table_ends_in_a_traceback(tmp_path, text, encoding, ending, head, junk):
    path = tmp_path / f"t{ending}"
    path.write_bytes((head + text).encode(encoding, "replace") + junk)
    for read in (by_evaluate, by_generate, read_captions):
        try:
            read(path)
        except RequestError as error:
            assert "t." in str(error)
