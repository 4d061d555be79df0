"""Line-up condition: the instruments that a prompt names, as features of every frame.

A frozen text encoder made for sentences puts "banjo" near "guitar", and "drumless" near "drums". So
the instruments that a model knows by name are read from the prompt and are a condition each. What
it does not know by name reaches it through the text alone.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from simba_music.conditioning.reading.denials import asked_for, denials, refused
from simba_music.conditioning.reading.styles import named_styles, word_lists
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span

Name = Annotated[str, Field(pattern=r"\S", max_length=64)]
Names = tuple[tuple[str, ...], ...]  # for each instrument what it is called, its title first


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", text.lower()).split())


class _Reader(NamedTuple):
    """Finds names, the longest first.

    meant: which instruments each may mean; choices: of some, the instrument by genre, the last
    one for any; absent: by an instrument that is the lack of another, as "drumless" is, the words
    that it denies, and the instruments that lack.
    """

    pattern: re.Pattern[str]
    meant: Mapping[str, Sequence[int]]
    choices: Mapping[str, Sequence[tuple[int, frozenset[str]]]]
    absent: Mapping[int, tuple[frozenset[str], frozenset[int]]]


def _choices(titles: Mapping[str, int]) -> dict[str, list[tuple[int, frozenset[str]]]]:
    """Words that may mean several instruments, and which it is in which genres."""
    found = dict[str, list[tuple[int, frozenset[str]]]]()
    for word, options in word_lists("names.toml")["choices"].items():
        parts = [option.partition(":") for option in options]
        found[word] = [
            (titles[title], frozenset(filter(None, (name.strip() for name in genres.split(",")))))
            for title, _, genres in parts
            if title in titles
        ]
    return {word: options for word, options in found.items() if options}


def _compiled(names: Iterable[str]) -> re.Pattern[str]:
    # An alternation takes the first that fits, so the longest names come first.
    longest = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?P<name>{'|'.join(map(re.escape, longest))})(?:e?s)?(?!\w)")


@functools.cache
def _reader(names: Names, wide: bool) -> _Reader:
    """What finds the names of a checkpoint; `wide` knows those of prompts besides."""
    meant, denied = dict[str, list[int]](), dict[int, set[str]]()
    for i, group in enumerate(names):
        for name in dict.fromkeys(_plain(name) for name in group):
            items = [_plain(denial.item) for denial in denials(name)]
            if items and not asked_for(name).strip("; "):
                denied.setdefault(i, set()).update(items)
            else:
                meant.setdefault(name, []).append(i)
    titles = {_plain(group[0]): i for i, group in enumerate(names)}
    choices = _choices(titles) if wide else {}
    if wide:
        table = word_lists("names.toml")
        for title, others in table["also"].items():
            for name in others if title in titles else ():
                meant.setdefault(_plain(name), [titles[title]])
        for kind in ("unknown", "phrases"):
            listed = table[kind]["names"]
            for name in listed:
                meant.setdefault(_plain(name), [])
        for word, options in choices.items():
            meant[word] = sorted({*meant.get(word, ()), *(i for i, _ in options)})
    absent = dict[int, tuple[frozenset[str], frozenset[int]]]()
    pattern = _compiled(meant) if meant else re.compile("(?P<name>$^)")
    for i, refusals in denied.items():
        lacking = {k for item in refusals for m in pattern.finditer(item) for k in meant[m["name"]]}
        absent[i] = frozenset(item.split()[-1] for item in refusals), frozenset(lacking)
    parts = {k for _, lacking in absent.values() for k in lacking}
    if wide and parts:  # parts of it are named in the singular too: "a clap", "one cymbal"
        for name in [name for name, of in meant.items() if parts.intersection(of)]:
            meant.setdefault(_singular(name), meant[name])
        pattern = _compiled(meant)
    return _Reader(pattern, meant, choices, absent)


def _singular(word: str) -> str:
    return word.removesuffix("s")


def _denies(item: str, words: frozenset[str]) -> bool:
    """Whether an item of a denial, "fast drums", is one of the words that an absence denies."""
    last = re.sub(r"\s+(?:kit|set|track|part|section|player)s?$", "", _plain(item)).split()[-1:]
    return bool(last) and _singular(last[0]) in {_singular(word) for word in words}


def _refused(text: str, names: Names, wide: bool) -> tuple[set[int], set[int]]:
    """(instruments that a text refuses, absences that it asks for by that)."""
    reader, without, absent = _reader(names, wide), set[int](), set[int]()
    whole = {k for _, lacking in reader.absent.values() for k in lacking}
    for denial in denials(text):
        for i, (words, lacking) in reader.absent.items():
            if _denies(denial.item, words):
                absent.add(i)
                without |= lacking
        for match in reader.pattern.finditer(_plain(denial.item)):
            # "no snare" leaves the rest of the drums.
            without |= set(reader.meant[match["name"]]) - whole
    return without, absent


def named_instruments(text: str, names: Names, prompt: bool = False) -> list[int]:
    """Which of the instruments a text names, in the order of `names`.

    Of names within names the longest counts: "electric piano" is no piano, "steel drums" are no
    drums. What is denied ("no piano", "neither strings nor brass") is not named; a denial may name
    an instrument that stands for it, as "drumless" does.

    Args:
        text: a caption or a prompt.
        names: of every instrument.
        prompt: whether other names of prompts count too, and a name that may mean several is one
            of them, by the genre: "guitar" in jazz. In a caption it is all of them.
    """
    if not names:
        return []
    reader = _reader(names, prompt)
    asked = asked_for(text)
    genres, found = frozenset(named_styles(asked)) if prompt else frozenset(), set[int]()
    for match in reader.pattern.finditer(_plain(asked)):
        name = match["name"]
        if name in reader.choices:
            options = reader.choices[name]
            fitting = (i for i, of in options if of & genres)
            found.add(next(fitting, options[-1][0]))
        elif prompt:
            found.update(reader.meant[name][:1])
        else:
            found.update(reader.meant[name])
    without, absent = _refused(text, names, prompt)
    return sorted((found - without) | absent)


@functools.cache
def _unknown() -> re.Pattern[str]:
    names = word_lists("names.toml")["unknown"]["names"]
    return _compiled(map(_plain, names))


def unknown_instruments(text: str) -> tuple[str, ...]:
    """Instruments that a text names and no piece of the corpus has, each once."""
    return tuple(dict.fromkeys(match["name"] for match in _unknown().finditer(_plain(text))))


def without_instruments(text: str, names: Names) -> str:
    """The text with what names an instrument left out; for what else it says."""
    return _reader(names, True).pattern.sub(";", _plain(text)) if names else _plain(text)


def denied_title(item: str, names: Names) -> str:
    """What a denial is about, such as "piano" of "sad piano"; "" if that is no instrument."""
    reader = _reader(names, True)
    for i, (words, lacking) in reader.absent.items():
        if _denies(item, words):
            heard = [name for name, of in reader.meant.items() if set(of) == lacking]
            plural = next((w for w in sorted(words) if w.endswith("s") and w in heard), "")
            return plural or names[min(lacking, default=i)][0]
    for match in reader.pattern.finditer(_plain(item)):
        meant = reader.meant[match["name"]]
        partly = any(set(meant) & lacking for _, lacking in reader.absent.values())
        if partly:
            plural = match["name"] + "s"
            return plural if plural in reader.meant else match["name"]
        if match["name"] in reader.choices or len(meant) != 1:
            return match["name"]
        return names[meant[0]][0]
    return ""


class LineUp(Condition[tuple[int, ...]]):
    """Which of the instruments that a model knows by name are named."""

    name: ClassVar[str] = "line_up"
    drop: ClassVar[float] = 0.3
    names: tuple[Annotated[tuple[Name, ...], Field(min_length=1)], ...] = Field(
        min_length=1, max_length=1024
    )

    @property
    def width(self) -> int:
        """See `Condition`."""
        return len(self.names)

    def from_prompt(self, request: Request) -> tuple[int, ...] | None:
        """Instruments that the prompt asks for."""
        return tuple(named_instruments(request.prompt, self.names, prompt=True)) or None

    def from_negative(self, request: Request) -> tuple[int, ...] | None:
        """Instruments that are refused, by the negative prompt or in the prompt."""
        text = refused(request.prompt, request.negative)
        asked = set(self.from_prompt(request) or ())
        return tuple(i for i in named_instruments(text, self.names, True) if i not in asked) or None

    def from_crop(self, crop: Crop, caption: str | None) -> tuple[int, ...] | None:
        """Instruments that the caption names."""
        return tuple(named_instruments(caption or "", self.names)) or None

    def features(self, values: Sequence[tuple[int, ...] | None], span: Span) -> Tensor:
        """`[B, 1, F]`: 1 for what is named, else 0."""
        found = torch.zeros(len(values), self.width)
        for row, named in zip(found, values, strict=True):
            row[list(named or ())] = 1
        return found[:, None].to(span.first.device)

    def describe(self, value: tuple[int, ...]) -> str:
        """Titles, such as "piano, drum kit"."""
        return ", ".join(self.names[i][0] for i in value)
