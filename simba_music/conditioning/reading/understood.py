"""Understanding: whether a prompt looks like English words, which is all that models learned."""

import functools
import re
from collections.abc import Callable

from simba_music.conditioning.reading.styles import styles, word_lists

ENGLISH = set(
    "a an and are as at be but by can could for from has have i if in into is it its just like me "
    "more music my no not of on only or over please something sound sounds that the then there "
    "this to under very want was we with without you your".split()
)
# Small words of other languages that are none in English.
FOREIGN = set(
    "der die das und mit ein eine einen ohne für auf ist nicht sehr schnelle langsam musik lied "
    "le la les des une avec sans pour dans est très musique lente rapide et du au "
    "el los las una con sin para por muy música canción y del lento "
    "il lo gli uno senza per molto musica canzone della che di "
    "o os um uma com sem muito música e da do "
    "een het van met zonder voor zeer muziek och med utan en ett på musik "
    "bez dla na jest bardzo muzyka ve ile için çok müzik".split()
) - {"per", "on", "no", "a", "as", "an", "do", "me", "die", "e", "o", "y", "con", "en", "la", "el"}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
FEWEST_KNOWN = 0.5  # of the words
SHORT = frozenset("bpm edm lofi synth synths rnb dnb idm vgm maj min".split())
OTHER_LANGUAGE = (
    "low confidence: this does not look like English, and the models learned from English captions"
)
NONSENSE = "low confidence: few of these words are known; the clip and its score say little"
NO_WORDS = "low confidence: there are no words in it"


@functools.cache
def _of_music() -> frozenset[str]:
    """Words of genres and of instruments, which a text encoder may spell from pieces."""
    tables = word_lists("names.toml")
    listed = [words for table in tables.values() for words in table.values()]
    names = [name for style in styles().values() for name in (*style.names, *style.also)]
    names += [name for kind in ("also", "choices") for name in tables[kind]]
    names += [name for words in listed for name in words]
    return SHORT | {part.lower() for name in names for part in _WORD.findall(name)}


def note_on(prompt: str, knows: Callable[[str], bool] | None = None) -> str:
    """Why what is read from a prompt says little, in words; "" where nothing speaks for that.

    Args:
        prompt: in words.
        knows: whether a word, in lower case, is one of the text encoder's; None is not to ask.
    """
    letters = [c for c in prompt if c.isalpha()]
    words = [word.lower() for word in _WORD.findall(prompt)]
    if not letters:
        return NO_WORDS if not re.search(r"\d", prompt) else ""
    if sum(bool(_LATIN.match(c)) for c in letters) < 0.7 * len(letters):
        return OTHER_LANGUAGE
    english = sum(word in ENGLISH for word in words)
    foreign = {word for word in words if word in FOREIGN}
    if len(foreign) > english and (len(foreign) > 1 or len(words) <= 5):
        return OTHER_LANGUAGE
    if knows is None:
        return ""
    long = [part for word in words for part in re.split(r"['’-]", word) if len(part) > 1]
    known = sum(part in _of_music() or knows(part) for part in long)
    return NONSENSE if long and known < FEWEST_KNOWN * len(long) else ""
