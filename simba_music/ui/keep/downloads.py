"""Downloads: a pair's clips as WAV, FLAC and Ogg, and both with their recipes as a ZIP."""

import hashlib
import io
import json
import urllib.parse
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradio.utils import get_upload_folder

from simba_music.errors import RequestError
from simba_music.files import write_atomic
from simba_music.ui.opening import Opening
from simba_music.ui.questions import Answer, answered, served_file, text_field

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.recipe import Recipe

FORMS: tuple[Literal["wav", "flac", "ogg"], ...] = ("wav", "flac", "ogg")
MOST = 100  # addresses in a question
_SERVED = "/gradio_api/file="
_SAME_DAY = (1980, 1, 1, 0, 0, 0)  # the same clips give the same archive


class Downloads:
    """Files of clips that are in Gradio's cache; what it makes is swept there like the rest.

    `made` are paths for the sweep.
    """

    def __init__(self, opening: Opening):
        self.opening, self.made = opening, set[str]()

    def there(self, data: object) -> Answer:
        """Which of `urls` the server still has, as `there`, a list of booleans."""

        def look(given: Mapping[str, Any]) -> Answer:
            return {"there": [_path(url) is not None for url in _urls(given, MOST)]}

        return answered(look, data)

    def convert(self, data: object) -> Answer:
        """The clip at `url` in the form `form`: `file`, what follows "file=", and its `name`."""

        def make(given: Mapping[str, Any]) -> Answer:
            path = _clip(text_field(given, "url"))
            form = next((form for form in FORMS if form == given.get("form")), None)
            if form is None:
                raise RequestError(f"form must be one of {', '.join(FORMS)}.")
            found = path.with_suffix(f".{form}")
            if not found.exists():
                self.opening.comparison.result()  # else its imports and these meet
                from simba_music import audio
                from simba_music.generation.recipe import tags_of

                self._keep(found, audio.converted(path, form, tags_of(_recipe(path))))
            return _served(found)

        return answered(make, data)

    def archive(self, data: object) -> Answer:
        """A ZIP of the clips at `urls` and their recipe.json: `file` and `name` as above."""

        def make(given: Mapping[str, Any]) -> Answer:
            paths = [_clip(url) for url in _urls(given, 8)]
            if not paths:
                raise RequestError("There is no clip to download yet.")
            self.opening.comparison.result()
            key = hashlib.sha256("\n".join(map(str, paths)).encode()).hexdigest()
            from simba_music.generation.recipe import stem_of

            name = f"{stem_of(_recipe(paths[0]), 'both')}.zip"
            found = Path(get_upload_folder()).resolve() / key / name
            if not found.exists():
                found.parent.mkdir(exist_ok=True)
                self._keep(found, _zipped(paths))
            return _served(found)

        return answered(make, data)

    def _keep(self, path: Path, data: bytes) -> None:
        write_atomic(path, data)
        self.made.add(str(path))


def _urls(given: Mapping[str, Any], most: int) -> list[str]:
    urls = given.get("urls")
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise RequestError("urls must be a list of addresses. Reload the page.")
    if len(urls) > most:
        raise RequestError(f"There are {len(urls)} addresses; at most {most} are looked at.")
    return urls


def _path(url: str) -> Path | None:
    """The file that an address of this server names, if it is a WAV in Gradio's cache."""
    path = served_file(url) if _SERVED in url else None
    return path if path is not None and path.suffix == ".wav" else None


def _clip(url: str) -> Path:
    """As `_path`, of a clip that is there.

    Raises:
        RequestError: If it is not.
    """
    found = _path(url)
    if found is None:
        raise RequestError("The server no longer has this clip. Generate it again.")
    return found


def _recipe(path: Path) -> "Recipe":
    from simba_music.generation.recipe import recipes_of_file

    (recipe,) = recipes_of_file(path).values()
    return recipe


def _served(path: Path) -> Answer:
    return {"file": urllib.parse.quote(str(path)), "name": path.name}


def _zipped(paths: Sequence[Path]) -> bytes:
    """A ZIP: the recipes first and as they are, since a page reads them in the browser."""
    recipes = {path: _recipe(path) for path in paths}
    names = _names(paths)
    clips = {names[path]: {"recipe": recipe.as_json()} for path, recipe in recipes.items()}
    licences = sorted({recipe.licence for recipe in recipes.values()})
    text = (
        f"Licence of the model that made each clip: {', '.join(licences)}. Made with SiMBA Music; "
        "`simba-music replay recipe.json` makes the clips once more.\n"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        parts = {"recipe.json": json.dumps({"schema": 2, "clips": clips}, indent=2).encode()}
        parts |= {"LICENCE.txt": text.encode()}
        parts |= {name: path.read_bytes() for path, name in names.items()}
        for name, data in parts.items():
            file.writestr(zipfile.ZipInfo(name, _SAME_DAY), data)
    return buffer.getvalue()


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name a path, each once: two models may be called alike."""
    found = dict[Path, str]()
    for path in paths:
        name, number = path.name, 2
        while name in found.values():
            name, number = f"{path.stem}-{number}{path.suffix}", number + 1
        found[path] = name
    return found
