"""Denials: what a prompt refuses, how far each refusal reaches, and what is left to ask for.

A cue ("without", "no", "do not use", "-free") denies the noun phrase that follows, adjectives
included, and the list that it begins: always over "or" and "nor", over "and" where a thing
follows, over commas where such a link closes the list. Cues and scopes by rules are those of
NegEx (Chapman et al. 2001, doi 10.1006/jbin.2001.1029), here for the words of musicians.
"""

import functools
import re
from typing import NamedTuple

_VERBS = (
    r"use|using|include|including|add|adding|want|need|have|having|play|playing|feature|contain"
    r"|like|put|let|hear|bring|employ|involve"
)
_CUES = rf"""
    (?:do(?:es)?|did|should|must|can|will|would|could)\s?(?:not|n't)\s+(?:\w+ly\s+)?(?:{_VERBS})
  | (?:don't|doesn't|didn't|won't|shouldn't|mustn't|wouldn't|can't|dont|doesnt)\s+(?:{_VERBS})
  | never\s+(?:{_VERBS})
  | (?:everything|anything|all|whatever)\s+but
  | (?:everything|anything|all)\s+(?:apart|aside)\s+from | except(?:ing)?\s+for | except(?:ing)?
  | excluding | exclude[sd]?
  | instead\s+of | rather\s+than | in\s+place\s+of | in\s+lieu\s+of
  | (?:free|devoid|absent|void)\s+(?:of|from) | lack(?:s|ing)?(?:\s+of)? | absence\s+of
  | (?:get(?:ting)?|be|got)\s+rid\s+of | stay(?:ing)?\s+away\s+from | (?:steer|stay)\s+clear\s+of
  | leav(?:e|es|ing)\s+out | cut(?:ting)?\s+out | tak(?:e|ing)\s+out | refrain\s+from
  | omit(?:s|ted|ting)? | avoid(?:s|ing)? | remov(?:e|es|ed|ing) | delet(?:e|ing) | skip(?:ping)?
  | mute\s+(?=the|all|any) | lose\s+the | ditch(?:ing)?
  | (?:hate|dislike|refuse)s?
  | without | w/o | minus | sans | neither | nor | never | zero | not | no
"""
_NO_DENIAL = (
    r"no[rt]?\s+(?:only|just|merely|simply|solely|necessarily|to\s+mention|sure|unlike|bad)\b"
    r"|no\s+(?:more|less|fewer|longer|later|problem|matter|doubt|one|nonsense|frills|way|idea"
    r"|worries|limit|need\s+to|thanks|thank)\b|no\.|nos?\s+\d|(?:minus|zero|no)\s+\d"
    r"|not?\s+(?:other|further|additional|a\s+part\s+of|part\s+of|for|audible|noticeable|visible"
    r"|clear(?:ly)?|really|the\s+best|that|very|perfect|great|as)\b"
    r"|with\s+and\s+without\b|without\s+(?:any\s+)?(?:other|further|additional)\b"
    r"|(?:if|or|why|whether)\s+not\b|nothing\s+(?:but|except|other\s+than|apart\s+from)\b"
    r"|no\s+one\s+but\b|no\s+other\s+\w+\s+(?:than|but)\b|minus\s+one\b|zero\s+gravity\b"
)
THINGS = (
    r"pianos?|keys|keyboards?|organs?|rhodes|guitars?|(?:sub\s+)?bass(?:es)?|basslines?|bassists?"
    r"|drums?|drummers?|drumming|drumkits?|beats?|percussion|snares?|kicks?|hats|hi-?hats|cymbals?"
    r"|claps?|toms|shakers?|tambourines?|strings|violins?|violas?|cellos?|brass|horns?|trumpets?"
    r"|trombones?|tubas?|sax(?:es)?|saxophones?|woodwinds?|winds|flutes?|oboes?|clarinets?"
    r"|bassoons?|harps?|banjos?|fiddles?|accordions?|synths?|synthesi[sz]ers?|pads?|leads?"
    r"|arpeggios|bells?|choirs?|vocals?|voices?|vocalists?|singing|singers?|lyrics|words|rap"
    r"|rapping|humming|chords?|melody|melodies|solos?|riffs?|hooks?|reverb|echo|delay|distortion"
    r"|effects|noise|samples|loops|fills?|electronics|instruments?|accompaniment|music\s+box"
    r"|timpani|marimbas?|vibraphones?|xylophones?|sitars?|whistl(?:es?|ing)|metronome"
)
_THING = re.compile(rf"(?:{THINGS})\b", re.IGNORECASE)
_COMPOUND = re.compile(r"\s+(?:kits?|sets?|machines?|loops?|lines?|solos?|sections?|players?|hits?"
                       r"|patterns?|rolls?|fills?|parts?|tracks?|sounds?|samples?|hooks?|beats?)\b",
                       re.IGNORECASE)  # fmt: skip
_SUFFIX = re.compile(rf"\b(?P<item>{THINGS}|voice)\s?-\s?(?:free|less)\b", re.IGNORECASE)
_LESS = re.compile(
    r"\b(?P<item>drum|beat|bass|guitar|vocal|piano|voice|melody|percussion)less\b", re.IGNORECASE
)
_NONE = re.compile(
    r"\b(?P<item>[a-z][\w -]{1,30}?)\s*"
    r"(?:[:=]\s*(?:none|no|off|zero|0|not\s+wanted|nope)(?![\w-]|\s+\w)"
    r"|\s+(?:(?:is|are|was|were)\s+)(?:absent|excluded|missing|not\s+(?:wanted|allowed|needed"
    r"|present|used|included)|unwanted|forbidden)\b|(?:isn't|aren't)\s+(?:wanted|allowed|present))",
    re.IGNORECASE,
)
_OUT = re.compile(
    r"\b(?:keep|leave|take|cut)\s+(?:the\s+|all\s+|any\s+)?(?P<item>[\w -]{2,30}?)\s+out\b",
    re.IGNORECASE,
)
_SWAP = re.compile(
    r"\b(?:replac(?:e|ing)|swap(?:ping)?|substitut(?:e|ing)|exchang(?:e|ing))\s+(?:the\s+|all\s+)?"
    r"(?P<item>[\w -]{2,40}?)\s+(?=(?:with|by|for)\b)",
    re.IGNORECASE,
)
_CUE = re.compile(rf"(?<![\w'-])(?:{_CUES})(?=[\s(]|$)", re.IGNORECASE | re.VERBOSE)
_EXCEPTION = re.compile(_NO_DENIAL, re.IGNORECASE)
_FILLER = re.compile(
    r"(?:[\s'\"“”]|\b(?:(?:any|an?|the|of|use|using|need|for|have|having|with|this|that|those|these|there"
    r"|be|been|being|even|other|usual|much|many|added|kinds?|sorts?|types?|form|trace|hint|sign"
    r"|sound|sounds|such|all|either|both|one|single|from|in)(?=\s)))+",
    re.IGNORECASE,
)
_STOP = re.compile(
    r"[.;:!?()\[\]\n|–—]|\s-\s|\b(?:but|just|only|instead|with|featuring|over|under|on|in|at|while"
    r"|that|which|where|then|use|uses|using|keep|add|please|is|are|was|give|let|make|want|i|we|you"
    r"|it|like|plus|as|so|because|however|though|although|until|from|to|by|behind|throughout"
    r"|during|after|before|around|when|if|than|whatsoever|at\s+all|anywhere|here|except|without|no"
    r"|not|neither|and\s+(?:some|lots|plenty|maybe|then|also|only|just|with|more|instead"
    r"|please|keep|use|add|give|let|make|[\d]+))\b",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"\b(?:an?|the)\b", re.IGNORECASE)
_NEW = re.compile(r"\band\s+(?:an?|the)\b", re.IGNORECASE)  # begins something else
_LINK = re.compile(
    r"\s*(?:,\s*(?:or|nor)\b|\b(?:or|nor)\b|(?<=\s)(?P<both>and\b|&)|/|(?P<comma>,)(?!\s*and\b))"
    r"\s*",
    re.IGNORECASE,
)
_MOST_WORDS = 4  # of one item


class Denial(NamedTuple):
    """One thing that is refused: its words, and where cue and words stand in the text."""

    item: str
    start: int
    end: int


def _item_end(text: str, start: int, limit: int) -> int:
    """Where the noun phrase that begins at `start` ends: after its first thing."""
    words = re.match(rf"(?:[\w'’#♯♭-]+\s*){{0,{_MOST_WORDS}}}", text[start:limit])
    end = start + len(words[0].rstrip()) if words else start
    thing = _THING.search(text, start, end)
    while thing:
        end = thing.end()
        compound = _COMPOUND.match(text, end, limit)
        if compound:
            end = compound.end()
        following = re.compile(r"\s+").match(text, end, limit)
        thing = _THING.match(text, following.end(), limit) if following else None
    return end


def _reach(text: str, start: int, limit: int) -> tuple[list[tuple[int, int]], list[str]]:
    """Items from `start` on, as spans, and what links each to the one before."""
    spans, links, at = list[tuple[int, int]](), list[str](), start
    while at < limit:
        filler = _FILLER.match(text, at, limit)
        begin = filler.end() if filler else at
        end = _item_end(text, begin, limit)
        if end <= begin:
            break
        spans.append((begin, end))
        link = _LINK.match(text, end, limit)
        if link is None:
            break
        links.append("," if link["comma"] else "and" if link["both"] else "or")
        at = link.end()
    return spans, links


def _kept(text: str, spans: list[tuple[int, int]], links: list[str], wide: bool) -> int:
    """How many of the items a denial reaches; `wide` cues go on over "a, b and c"."""

    def thing(k: int) -> bool:
        return bool(_THING.search(text, *spans[k]))

    kept = 1
    while kept < len(spans):
        link = links[kept - 1]
        if link == "or":
            kept += 1
        elif link == "and":
            if not thing(kept) and thing(0):
                break
            kept += 1
        else:
            closing = next((k for k in range(kept, len(spans) - 1) if links[k] != ","), None)
            if closing is None or (links[closing] == "and" and not wide):
                break
            if not all(thing(k) for k in range(kept, closing + 2)):
                break
            kept = closing + 2
    return kept


def _by_cues(text: str) -> list[Denial]:
    found, at = list[Denial](), 0
    while match := _CUE.search(text, at):
        at = match.end()
        exception = _EXCEPTION.match(text, match.start())
        before = _EXCEPTION.search(text, max(0, match.start() - 12), match.end())
        if exception or (before and before.start() <= match.start() < before.end()):
            at = max(at, exception.end() if exception else at)
            continue
        cue = match[0].lower()
        if cue.startswith("except") and found and not re.search(r"[.;]", text[found[-1].end : at]):
            continue  # "no accompaniment except a harp" asks for the harp
        filler = _FILLER.match(text, match.end())
        begin = filler.end() if filler else match.end()
        ends = [_STOP.search(text, begin)]
        if not _ARTICLE.search(text, match.end(), begin):  # "no bass and a harp", not "the, the"
            ends.append(_NEW.search(text, begin))
        limit = min((end.start() for end in ends if end), default=len(text))
        spans, links = _reach(text, match.end(), limit)
        if not spans:
            continue
        count = _kept(text, spans, links, wide=cue not in ("no", "not", "zero", "nor"))
        for k, (start, end) in enumerate(spans[:count]):
            found.append(Denial(text[start:end], match.start() if k == 0 else start, end))
        at = spans[count - 1][1]
    return found


@functools.lru_cache(maxsize=1024)
def denials(text: str) -> tuple[Denial, ...]:
    """What a text refuses, in its order."""
    text = text.replace("’", "'")
    found = [
        Denial(match["item"].strip(), match.start(), match.end())
        for form in (_SUFFIX, _LESS, _NONE, _OUT, _SWAP)
        for match in form.finditer(text)
    ]
    taken = [(denial.start, denial.end) for denial in found]
    found += [
        denial
        for denial in _by_cues(text)
        if not any(start < denial.end and denial.start < end for start, end in taken)
    ]
    return tuple(sorted(found, key=lambda denial: denial.start))


def asked_for(text: str) -> str:
    """The text with semicolons in place of what it refuses; every other letter keeps its place."""
    for denial in denials(text):
        text = text[: denial.start] + ";" * (denial.end - denial.start) + text[denial.end :]
    return text


def refused(prompt: str, negative: str = "") -> str:
    """What the negative side has: the negative prompt, and what the prompt refuses.

    A negative prompt names what is not wanted, so "no drums" there is no wish for drums.
    """
    bare = re.sub(r"[;\s]*;[;\s]*", " ", asked_for(negative)).strip(" ,")
    items = [denial.item for text in (negative, prompt) for denial in denials(text)]
    if not items:
        return negative
    return ", ".join(dict.fromkeys(filter(None, [bare, *items])))
