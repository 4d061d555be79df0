"""Layouts: data sets read by their own files: Debian, MTG-Jamendo, MusicCaps, WebDataset."""

import ast
import json
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from simba_music.audio import SUFFIXES
from simba_music.errors import RequestError
from simba_music.files.names import Folder
from simba_music.files.tables import read_table, read_text
from simba_music.training.corpus.own.debian import debian
from simba_music.training.corpus.own.wanted import SPLIT_NAMES, TEXT_COLUMNS, Wanted, problem
from simba_music.training.corpus.store import Row

Layout = Callable[[Folder], tuple[list[Wanted], list[Row]]]
# Of MTG-Jamendo: its tables of tags, the most complete first, and the parts of its splits.
JAMENDO_TABLES = (
    "autotagging.tsv", "raw_30s_cleantags_50artists.tsv", "raw_30s_cleantags.tsv", "raw_30s.tsv",
    "raw.tsv", "autotagging_moodtheme.tsv", "autotagging_instrument.tsv", "autotagging_genre.tsv",
    "autotagging_top50tags.tsv",
)  # fmt: skip
JAMENDO_SPLIT = "autotagging-{}.tsv"
# Tags are written in one word.
_WORDS = {
    "acidjazz": "acid jazz", "acousticbassguitar": "acoustic bass guitar",
    "acousticguitar": "acoustic guitar", "alternativerock": "alternative rock",
    "bluesrock": "blues rock", "bossanova": "bossa nova", "classicalguitar": "classical guitar",
    "classicrock": "classic rock", "darkambient": "dark ambient", "deephouse": "deep house",
    "doublebass": "double bass", "drummachine": "drum machine", "drumnbass": "drum and bass",
    "easylistening": "easy listening", "electricguitar": "electric guitar",
    "electricpiano": "electric piano", "ethnicrock": "ethnic rock", "hardrock": "hard rock",
    "hiphop": "hip hop", "instrumentalpop": "instrumental pop",
    "instrumentalrock": "instrumental rock", "jazzfunk": "jazz funk", "jazzfusion": "jazz fusion",
    "newage": "new age", "newwave": "new wave", "pipeorgan": "pipe organ", "popfolk": "pop folk",
    "poprock": "pop rock", "postrock": "post rock", "punkrock": "punk rock", "rnb": "r&b",
    "rocknroll": "rock and roll", "singersongwriter": "singer-songwriter",
    "synthpop": "synth pop", "triphop": "trip hop", "worldfusion": "world fusion",
}  # fmt: skip
_YOUTUBE = re.compile(r"\[([\w-]{11})\]|^([\w-]{11})(?![\w])|^([\w-]{11})(?=[_-]\d)|^([\w-]{11})$")


def _first(folder: Folder, names: Iterable[str]) -> Path | None:
    """The first of these files that there is anywhere in a folder."""
    ends = {name.rpartition("/")[2]: path for name, path in reversed(folder.by_name.items())}
    return next((ends[name] for name in names if name in ends), None)


def tag_captions(tags: Iterable[str]) -> list[str]:
    """Captions of a track from tags such as `instrument---piano`: a list, and a phrase."""
    kinds: dict[str, list[str]] = {"mood/theme": [], "genre": [], "instrument": []}
    for tag in tags:
        kind, _, word = tag.strip().partition("---")
        if word and kind in kinds:
            kinds[kind].append(_WORDS.get(word, word))
    moods, genres, instruments = kinds.values()
    said = [*moods, *genres, *instruments]
    if not said:
        return []
    music = " ".join([", ".join(moods[:2]), genres[0] if genres else "music"]).strip()
    *most, last = instruments or [""]
    players = " and ".join(part for part in (", ".join(most), last) if part)
    return [", ".join(said), f"{music} with {players}" if players else music]


def _tagged(path: Path) -> dict[str, list[str]]:
    """Fields of every track of a table of MTG-Jamendo by its path; tags are the sixth and on."""
    lines = read_text(path).splitlines()
    if len(lines) == 1 and "\t" not in lines[0]:  # a link that came as a text file
        return _tagged(path.parent / lines[0].strip())
    if not lines or lines[0].split("\t")[:4] != ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH"]:
        raise RequestError(f"{path} is no table of MTG-Jamendo: it begins with other columns.")
    found = dict[str, list[str]]()
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) < 6:
            raise RequestError(f"{path}, line {number} has {len(fields)} fields, at least 6.")
        found[fields[3]] = fields
    return found


def mtg_jamendo(folder: Folder) -> tuple[list[Wanted], list[Row]]:
    """The clone of the data set's repository with its audio (`NN/ID.mp3`, or `.low.mp3`) in it.

    Captions are made from the tags; splits are those of `split-0`, or drawn by artist.
    """
    tracks, splits = dict[str, list[str]](), dict[str, str]()
    for part in ("train", "validation", "test"):
        name = f"split-0/{JAMENDO_SPLIT.format(part)}"
        for path in (p for n, p in folder.by_name.items() if n.endswith(name)):
            rows = _tagged(path)
            tracks |= rows
            splits |= dict.fromkeys(rows, SPLIT_NAMES[part])
    if table := _first(folder, JAMENDO_TABLES):
        tracks = _tagged(table) | tracks
    if not tracks:
        raise RequestError(
            f"{folder.folder} holds no table of MTG-Jamendo ({', '.join(JAMENDO_TABLES[:2])}, "
            f"split-0/{JAMENDO_SPLIT.format('train')}): clone MTG/mtg-jamendo-dataset into it."
        )
    sounds = {
        "/".join(Path(name.replace(".low.", ".")).parts[-2:]): (name, path)
        for name, path in folder.by_name.items()
        if path.suffix.lower() in SUFFIXES
    }
    wanted, problems = list[Wanted](), list[Row]()
    for track, fields in tracks.items():
        if track not in sounds:
            problems.append(problem(track, "its audio is not there"))
            continue
        name, path = sounds[track]
        # Without splits of its own a track goes where its artist goes, so that none is in two.
        split = splits.get(track) or f"by {fields[1]}"
        entry = Wanted(name, split=split, path=path)
        entry.say(tag_captions(fields[5:]))
        wanted.append(entry)
    return wanted, problems


def _video_of(stem: str) -> str:
    found = _YOUTUBE.search(stem)
    return next((part for part in found.groups() if part), "") if found else ""


def musiccaps(folder: Folder) -> tuple[list[Wanted], list[Row]]:
    """MusicCaps' CSV with the clips beside it, each named by its video (`ID.wav`, `ID_30_40.wav`).

    Captions are the caption and the list of aspects; clips of AudioSet's evaluation are the test.
    """
    for path in folder.paths:
        if path.suffix.lower() == ".csv" and path.is_file():
            table = read_table(path)
            if {"ytid", "caption"} <= set(table.columns):
                break
    else:
        raise RequestError(f"{folder.folder} holds no CSV with the columns ytid and caption.")
    clips = {
        video: (name, path)
        for name, path in folder.by_name.items()
        if path.suffix.lower() in SUFFIXES and (video := _video_of(path.stem))
    }
    wanted, problems = list[Wanted](), list[Row]()
    for row in table.rows:
        video = row.values.get("ytid", "")
        if video not in clips:
            problems.append(problem(video, "its clip is not there"))
            continue
        name, path = clips[video]
        held = row.values.get("is_audioset_eval", "").lower() == "true"
        entry = Wanted(name, split="test" if held else "", path=path)
        entry.say([row.values.get("caption", ""), _aspects(row.values.get("aspect_list", ""))])
        wanted.append(entry)
    return wanted, problems


def _aspects(text: str) -> str:
    """A list as Python writes it, as words with commas."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return ", ".join(map(str, found)) if isinstance(found, list) else text


def _said(file: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[list[str], str]:
    """(captions, licence) of a text or JSON member.

    Raises:
        RequestError: If it is neither.
    """
    stream = file.extractfile(member)
    raw = stream.read() if stream else b""
    try:
        text = raw.decode("utf-8-sig")
        if not member.name.endswith(".json"):
            return [text], ""
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{member.name} cannot be read: {error}") from error
    if isinstance(found, str):
        return [found], ""
    if not isinstance(found, dict):
        raise RequestError(f"{member.name} is no object with a caption")
    captions = [found[name] for name in TEXT_COLUMNS if isinstance(found.get(name), str)]
    more = found.get("captions", [])
    captions += [one for one in more if isinstance(one, str)] if isinstance(more, list) else []
    licence = found.get("licence", found.get("license", ""))
    return captions, licence if isinstance(licence, str) else ""


def _one_archive(folder: Folder, path: Path) -> tuple[list[Wanted], list[Row]]:
    archive = folder.name_of(path)
    words = re.split(r"[^a-z]+", archive.lower())
    split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")
    sounds, said = dict[str, Wanted](), dict[str, Wanted]()
    problems = list[Row]()
    with tarfile.open(path, "r:") as file:
        for member in file:
            inside = PurePosixPath(member.name)
            key, _, ending = inside.name.partition(".")
            sample = str(inside.parent / key)
            name = f"{archive}/{member.name}"
            if not member.isfile():
                continue
            if f".{ending.lower()}" in SUFFIXES:
                sounds[sample] = Wanted(
                    name, split=split, path=path, span=(member.offset_data, member.size)
                )
            elif ending in ("txt", "json"):
                entry = said.setdefault(sample, Wanted(name))
                try:
                    captions, licence = _said(file, member)
                except RequestError as error:
                    problems.append(problem(name, "its text cannot be read", str(error)))
                    continue
                entry.say(captions)
                entry.licence = licence or entry.licence
    for sample, entry in sounds.items():
        if sample in said:
            entry.say(said[sample].captions)
            entry.licence = said[sample].licence
    problems += [
        problem(entry.file, "it has no sound beside it")
        for sample, entry in said.items()
        if sample not in sounds
    ]
    return list(sounds.values()), problems


def webdataset(folder: Folder) -> tuple[list[Wanted], list[Row]]:
    """Tar archives of samples: `KEY.flac` (or another sound) with `KEY.json` or `KEY.txt`.

    A JSON has the caption under caption, text, prompt or captions. The archive's name may have
    its split in it, as in `train-00001.tar`.
    """
    archives = [path for path in folder.paths if path.suffix.lower() == ".tar"]
    if not archives:
        raise RequestError(f"{folder.folder} holds no .tar archives; unpack those of other kinds.")
    wanted, problems = list[Wanted](), list[Row]()
    for path in archives:
        try:
            found, bad = _one_archive(folder, path)
        except (tarfile.TarError, OSError) as error:
            found, bad = [], [problem(folder.name_of(path), "it is no tar archive", str(error))]
        wanted += found
        problems += bad
    return wanted, problems


LAYOUTS: dict[str, Layout] = {
    "debian": debian,
    "mtg-jamendo": mtg_jamendo,
    "musiccaps": musiccaps,
    "webdataset": webdataset,
}
