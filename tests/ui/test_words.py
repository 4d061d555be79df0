"""What the page says stands in words.toml: no script has a sentence of its own, none is unused."""

import re
from pathlib import Path

import pytest

from simba_music.ui.look import words as look
from simba_music.ui.look.words import say, words

UI = Path(look.__file__).parent.parent
SCRIPTS = sorted(UI.rglob("*.js"))
CODE = sorted(p for p in UI.rglob("*") if p.suffix in (".py", ".js", ".html"))
FOLDERS = {"study": "studies", "votes": "blind"}  # groups that are not called as their folder
NOT_SAID = {"SiMBA", "Transformer"}  # names, which stay as they are in any language
# A quoted sentence, a text between tags, an attribute that is read out, and what is shown or said.
SENTENCE = re.compile(r"""(["'`])([A-Z][^"'`\n]* [^"'`\n]*)\1""")
BETWEEN_TAGS = re.compile(r">\s*([A-Za-z][^<>$=;(){}]{2,})</?\w")
ATTRIBUTE = re.compile(r"(?:aria-label|title|placeholder|alt)=\\?\"([^\"$]*[A-Za-z][^\"]*)\"")
SHOWN = re.compile(r"(?:textContent =|ariaLabel =|title =|\bsay\(|\btell\()\s*[\"`]([^\"`$]*[a-z])")


def said_by(script):
    """Phrases that a script says by itself."""
    code = re.sub(r"(?m)(?:^|\s)//.*$", "", script)
    found = [match[2] for match in SENTENCE.finditer(code)]
    found += [text for rule in (BETWEEN_TAGS, ATTRIBUTE, SHOWN) for text in rule.findall(code)]
    return [text for text in found if text.strip() not in NOT_SAID]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: str(p.relative_to(UI)))
def test_no_script_has_a_sentence_of_its_own(path):
    assert said_by(path.read_text()) == []


@pytest.mark.parametrize(
    "script",
    [
        'line.title = "Listen on";',
        "note(`Round ${n} of 3`);",
        'root.innerHTML = `<button class="a" disabled>Start</button>`;',
        'root.innerHTML = `<div aria-label="player">`;',
        'this.say("buffering");',
    ],
)
def test_a_planted_sentence_is_found(script):
    assert said_by(script)


def phrases(found, *where):
    """(group, ..., name) of every phrase."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from phrases(value, *where, name)
        else:
            yield (*where, name)


def used(name, code):
    """Whether code takes a phrase, or a group of them, by its name."""
    name = re.escape(name)
    return re.search(rf"""[."'$]{name}\b|const {{[^=\n]*\b{name}\b[^=\n]*}} =""", code)


def test_every_phrase_is_used():
    texts, unused = {path: path.read_text() for path in CODE}, []
    for group, *names in phrases(words()):
        folder = UI / FOLDERS.get(group, group)
        rooms = [folder, UI / "look"] if folder.is_dir() else [UI]
        code = "\n".join(t for path, t in texts.items() if {*rooms} & {*path.parents})
        unused += [".".join([group, *names]) for name in names if not used(name, code)]
    assert unused == []


def test_a_phrase_is_filled_in_and_says_what_it_lacks():
    assert say("create", "seconds", n=5) == "5 s"
    with pytest.raises(KeyError, match="n"):
        say("create", "seconds")
