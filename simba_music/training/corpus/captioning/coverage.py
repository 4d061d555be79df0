"""Coverage: which frequent words of other people's captions ours can produce."""

import logging
import re
import tomllib
from collections import Counter
from pathlib import Path

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from simba_music.errors import RequestError
from simba_music.files import write_json
from simba_music.files.tables import read_table
from simba_music.training.corpus.store import CAPTIONS, read_rows
from simba_music.training.corpus.tables import DATA

logger = logging.getLogger(__name__)

FREQUENT = 300
LEFT_OUT = DATA / "words_left_out.toml"
_WORD = re.compile(r"[a-z][a-z'-]+")


def frequent_words(prompts: Path, count: int = FREQUENT) -> list[str]:
    """The most frequent content words of the column `caption` of a table.

    Raises:
        RequestError: If there is no such file or column.
    """
    table = read_table(prompts, ("caption",))
    if "caption" not in table.columns:
        raise RequestError(f"{prompts} has no column `caption`, but {', '.join(table.columns)}.")
    texts = [row.first(("caption",)).lower() for row in table.rows]
    counts = Counter(word for text in texts for word in _WORD.findall(text))
    return [w for w, _ in counts.most_common() if w not in ENGLISH_STOP_WORDS][:count]


def write_coverage(corpus: Path, prompts: Path, out: Path) -> None:
    """Write which frequent words the corpus' captions hold, and why others are left out.

    Raises:
        RequestError: If a word is missing from the captions without a reason in the table.
    """
    wanted = frequent_words(prompts)
    said = {
        word
        for row in read_rows(corpus / CAPTIONS)
        for texts in row["captions"]
        for text in texts
        for word in _WORD.findall(text.lower())
    }
    reasons: dict[str, str] = {}
    for reason, words in tomllib.loads(LEFT_OUT.read_text()).items():
        reasons |= dict.fromkeys(words, reason)
    missing = [word for word in wanted if word not in said]
    unexplained = [word for word in missing if word not in reasons]
    if unexplained:
        raise RequestError(
            f"The captions of {corpus} lack {', '.join(unexplained)}. Teach them in words.toml, "
            f"or give a reason in {LEFT_OUT.name}."
        )
    covered = 1 - len(missing) / len(wanted)
    report = {
        "prompts": prompts.name,
        "words": len(wanted),
        "covered": len(wanted) - len(missing),
        "share": round(covered, 3),
        "left_out": {word: reasons[word] for word in missing},
    }
    write_json(out, report)
    logger.info("%.1f %% of the %d most frequent words; %s", 100 * covered, len(wanted), out)
