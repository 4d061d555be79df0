"""What is kept: links, downloads, recipes of files, checked on the server and read by node."""

import base64
import io
import json
import re
import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from simba_music import audio
from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.generation.clip import Clip
from simba_music.generation.comparison import Comparison
from simba_music.generation.recipe import recipes_of_file, stem_of, tags_of
from simba_music.generation.stops import Stops
from simba_music.ui.keep import permalink
from simba_music.ui.keep.downloads import FORMS, Downloads
from simba_music.ui.keep.kept import Kept
from simba_music.ui.keep.permalink import Link, link_of, read_link
from simba_music.ui.opening import Opening, sides_of

SCRIPTS = Path(permalink.__file__).parent
NODE = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
PROMPT = "funk, slap bass, 104 bpm, <b>E minor</b>"


@pytest.fixture(scope="module")
def opening(pipeline):
    found = Opening(sides_of(pipeline))
    found.comparison.set_result(Comparison(pipeline, Stops()))
    return found


@pytest.fixture(scope="module")
def clips(pipeline):
    request = pipeline.validate(prompt=PROMPT, duration_s=2.0, seed=17, temperature=0.9)
    found = [event for event in pipeline.generate(request) if isinstance(event, Clip)]
    return sorted(found, key=lambda clip: clip.side)


@pytest.fixture
def served(clips, tmp_path, monkeypatch):
    """Addresses of both clips in a cache of Gradio's, and the folder of the cache."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    urls = []
    for clip in clips:
        path = tmp_path / "cache" / clip.name / f"{stem_of(clip.recipe, clip.name)}.wav"
        path.parent.mkdir(parents=True)
        audio.write(path, clip.waveform, tags_of(clip.recipe))
        urls.append(f"http://x/gradio_api/file={path}")
    return urls


def packed(text):
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")


requests = st.builds(
    Request,
    prompt=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    duration_s=st.sampled_from([2.0, 10.0, 29.5]),
    seed=st.integers(0, 2**32 - 1),
    takes=st.integers(1, 4),
    guidance=st.floats(1, 10),
    negative=st.text(st.characters(codec="utf-8"), max_size=50),
    draw=st.booleans(),
    grown_s=st.sampled_from([(), (2.0,), (5.0, 10.0)]),
)


@given(requests)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_link_gives_back_what_was_put_in(request):
    link = read_link(link_of(request, ["simba", "org/name@main"]))
    grown = tuple(link.grown_s)
    assert Request(link.prompt, **link.settings, grown_s=grown) == request
    assert link.models == ["simba", "org/name@main"]


def test_a_link_is_short_and_safe_in_an_address():
    text = link_of(Request(PROMPT, seed=17), ["simba", "transformer"])
    assert len(text) < 160 and set(text) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


def test_a_prompt_that_is_too_long_for_a_link_is_refused():
    noise = "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x9000, 3900)))
    with pytest.raises(RequestError, match="too long for a link"):
        link_of(Request(noise), [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "incomplete"),
        ("é", "incomplete"),
        ("A" * 5000, "4096 at most"),
        (packed("x"), "incomplete"),
        (packed("[" * 12_000), "incomplete"),
        (packed('{"v":1,"p":"x"}' + " " * 1_000_000), "incomplete"),
        (packed('{"v":1,"p":"x"}') + packed("more"), "incomplete"),
        (packed('{"v":2,"p":"x"}'), "later version"),
        (packed('{"v":1}'), "p: Field required"),
        (packed('{"v":1,"p":"x","s":{"seed":[1]}}'), "incomplete"),
        (packed('{"v":1,"p":"x","s":{"seed":1e999}}'), "incomplete"),
        (packed('{"v":1,"p":"x","y":1}'), "y: Extra inputs"),
    ],
)
def test_a_hostile_link_is_a_sentence(text, said):
    with pytest.raises(RequestError, match=said):
        read_link(text)


@given(st.one_of(st.binary(max_size=80), st.text(max_size=80)))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_link_whatever_it_is_breaks_the_reader(raw):
    if isinstance(raw, bytes):
        raw = base64.urlsafe_b64encode(zlib.compress(raw)).decode()
    try:
        assert isinstance(read_link(raw), Link)
    except RequestError as error:
        assert str(error).endswith((".", ")"))


def test_the_form_is_restored_from_link_and_recipe_alike(opening, clips):
    kept = Kept(opening)
    recipes = {f"{i}.wav": {"recipe": clip.recipe.as_json()} for i, clip in enumerate(clips)}
    text = json.dumps({"schema": 2, "clips": recipes})
    link = kept.link({"recipes": text})["link"]
    by_link, by_file = kept.restore({"link": link}), kept.restore({"recipe": text})
    assert by_link == by_file
    found = by_link["restored"]
    assert (found["prompt"], found["seed"], found["settings"]["temperature"]) == (PROMPT, 17, 0.9)
    assert found["models"] == {s: side.source for s, side in opening.sides.items()}
    assert found["notes"] == []


def test_one_clip_restores_its_model_on_its_side(opening, clips):
    right = clips[1].recipe
    found = Kept(opening).restore({"recipe": json.dumps(right.as_json())})["restored"]
    assert found["models"] == {s: side.source for s, side in opening.sides.items()}
    other = right.model_copy(update={"model": right.model.model_copy(update={"id": "evil/one"})})
    found = Kept(opening).restore({"recipe": json.dumps(other.as_json())})["restored"]
    assert "evil/one" not in found["models"].values()
    assert "evil/one, which this page does not offer" in found["notes"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": "quantum"}, "made on the engine quantum"),
        ({"dtype": "int8"}, r"reference \(int8\), this page uses reference"),
        ({"model": "weights"}, "has other weights now"),
    ],
)
def test_what_would_give_another_clip_is_said(opening, clips, change, said):
    recipe = clips[0].recipe
    if change == {"model": "weights"}:
        change = {"model": recipe.model.model_copy(update={"sha256": "0" * 64})}
    text = json.dumps(recipe.model_copy(update=change).as_json())
    (note,) = Kept(opening).restore({"recipe": text})["restored"]["notes"]
    assert re.search(said, note)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "recipe is missing"),
        (None, "is an object"),
        ({"recipe": "x{"}, "no recipe in this file"),
        ({"recipe": "[" * 60_000}, "no recipe in this file"),
        ({"recipe": "{}"}, "is no recipe"),
        ({"recipe": " " * 70_000}, "at most 65536"),
        ({"link": packed('{"v":1,"p":"x","s":{"seed":-1}}')}, "seed must be"),
        ({"link": packed('{"v":1,"p":"x","s":{"duration_s":31}}')}, "from 2 to 30"),
        ({"link": packed('{"v":1,"p":"x","s":{"colour":"red"}}')}, "Unknown setting 'colour'"),
    ],
)
def test_what_cannot_be_restored_is_a_sentence(opening, asked, said):
    assert said in Kept(opening).restore(asked)["error"]


def test_names_say_prompt_tempo_model_and_seed(clips):
    recipe = clips[0].recipe
    assert stem_of(recipe, "simba") == "funk-slap-bass-b-e-simba-seed17"
    beat = type("Read", (), {"value": "104 beats a minute"})()
    with_beat = recipe.model_copy(update={"conditions": {"beat": beat}})
    assert stem_of(with_beat, "simba") == "funk-slap-bass-b-e-104bpm-simba-seed17"
    plain = recipe.model_copy(update={"request": Request("悲しいピアノ", seed=3)})
    assert stem_of(plain, "../x y") == "clip-x-y-seed3"


def test_a_recipe_that_no_file_takes_is_left_out(clips):
    recipe = clips[0].recipe.model_copy(update={"request": Request("é" * 9_000)})
    assert tags_of(recipe).comment == "" and tags_of(clips[0].recipe).comment


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_sound_recipe_title_and_licence(opening, clips, served, form):
    answer = Downloads(opening).convert({"url": served[0], "form": form})
    assert answer["name"] == f"{stem_of(clips[0].recipe, 'simba')}.{form}"
    (recipe,) = recipes_of_file(Path(answer["file"])).values()
    assert recipe == clips[0].recipe
    samples, rate = soundfile.read(answer["file"], dtype="int16")
    own = clips[0].waveform.int16()[:, 0]
    assert rate == 24_000 and len(samples) == len(own)
    if form != "ogg":
        assert (samples == own).all()
    with soundfile.SoundFile(answer["file"]) as file:
        assert file.title == PROMPT and file.copyright == "Apache-2.0"


def test_what_was_made_is_made_once_and_swept(opening, served):
    downloads = Downloads(opening)
    first = downloads.convert({"url": served[0], "form": "ogg"})
    before = Path(first["file"]).read_bytes()
    assert downloads.convert({"url": served[0], "form": "ogg"}) == first
    assert Path(first["file"]).read_bytes() == before and downloads.made == {first["file"]}


def test_the_archive_has_both_clips_and_a_recipe_that_is_replayed(opening, clips, served):
    answer = Downloads(opening).archive({"urls": served})
    assert answer["name"].endswith("-both-seed17.zip")
    with zipfile.ZipFile(io.BytesIO(Path(answer["file"]).read_bytes())) as file:
        names = file.namelist()
        recipes = json.loads(file.read("recipe.json"))["clips"]
        assert b"Apache-2.0" in file.read("LICENCE.txt")
        assert file.read(names[2]) == Path(served[0].partition("file=")[2]).read_bytes()
    assert names[2:] == list(recipes) and len(recipes) == 2
    assert [r["recipe"] for r in recipes.values()] == [clip.recipe.as_json() for clip in clips]


@pytest.mark.parametrize(
    "url",
    [
        "http://x/gradio_api/file=/etc/passwd",
        "http://x/gradio_api/file=/etc/hosts.wav",
        "http://x/gradio_api/file={cache}/../outside.wav",
        "{cache}/simba/x.wav",
        "http://x/gradio_api/file={cache}/gone.wav",
        "http://x/gradio_api/file={cache}/a%00.wav",
        "",
    ],
)
def test_no_other_file_can_be_asked_for(opening, served, tmp_path, url):
    (tmp_path / "outside.wav").write_bytes(b"RIFF")
    asked = url.replace("{cache}", str(tmp_path / "cache"))
    downloads = Downloads(opening)
    assert "no longer has" in downloads.convert({"url": asked, "form": "flac"})["error"]
    assert "no longer has" in downloads.archive({"urls": [asked]})["error"]
    assert downloads.there({"urls": [asked, served[0]]}) == {"there": [False, True]}


def node(script, *scripts):
    """What a script prints in node after ours."""
    code = "\n".join((SCRIPTS / f"{name}.js").read_text() for name in scripts)
    done = subprocess.run(
        ["node", "-"], input=f"{code}\n{script}", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ = """
const fs = require("fs");
(async () => {
  const found = {};
  for (const path of %s) {
    try {
      found[path] = await recipeText(new Blob([fs.readFileSync(path)]));
    } catch (error) {
      found[path] = error.message;
    }
  }
  console.log(JSON.stringify(found));
})();
"""


def read_by_node(*paths):
    found = node(READ % json.dumps([str(path) for path in paths]), "recipes")
    return list(found.values())


@NODE
def test_the_page_reads_the_recipe_of_every_form(opening, clips, served, tmp_path):
    downloads = Downloads(opening)
    files = [downloads.convert({"url": served[0], "form": form})["file"] for form in FORMS]
    archive = downloads.archive({"urls": served})["file"]
    with (
        zipfile.ZipFile(archive) as made,
        zipfile.ZipFile(tmp_path / "again.zip", "w", zipfile.ZIP_DEFLATED) as again,
    ):
        for name in reversed(made.namelist()):
            again.writestr(f"folder/{name}", made.read(name))
    found = [json.loads(text) for text in read_by_node(*files)]
    assert found == [clips[0].recipe.as_json()] * 3
    both = [json.loads(text) for text in read_by_node(archive, tmp_path / "again.zip")]
    assert both[0] == both[1] and len(both[0]["clips"]) == 2


@NODE
def test_the_page_reads_the_longest_recipe(tmp_path):
    """Over several pages of an Ogg stream, and over libsndfile's own limit for WAV."""
    text = json.dumps({"x": "y" * (audio.LONGEST_COMMENT - 9)})
    samples = np.zeros((24_000, 1), np.int16)
    with pytest.raises(RequestError, match="a file takes 40000"):
        audio.encoded(samples, 24_000, "wav", audio.Tags("t", text + " ", "MIT"))
    for form in FORMS:
        data = audio.encoded(samples, 24_000, form, audio.Tags("t", text, "MIT"))
        (tmp_path / f"a.{form}").write_bytes(data)
        assert audio.read_comment(tmp_path / f"a.{form}") == text
    assert read_by_node(*(tmp_path / f"a.{form}" for form in FORMS)) == [text] * 3


@NODE
def test_files_without_a_recipe_say_so_however_broken(opening, served, tmp_path):
    samples = np.zeros((24_000, 1), np.int16)
    paths = []
    for form in FORMS:
        whole = Path(Downloads(opening).convert({"url": served[0], "form": form})["file"])
        for i, data in enumerate(
            (
                audio.encoded(samples, 24_000, form),
                whole.read_bytes()[:60],
                whole.read_bytes()[:12] + b"\xff" * 200,
            )
        ):
            paths.append(tmp_path / f"{i}.{form}")
            paths[-1].write_bytes(data)
    for name, data in {"a.zip": b"PK\x03\x04" + b"\xff" * 300, "b": b"", "c": b"hello"}.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    assert set(read_by_node(*paths)) == {"no-recipe"}


def test_a_file_without_a_recipe_cannot_be_replayed(tmp_path):
    samples = np.zeros((2_400, 1), np.int16)
    (tmp_path / "a.wav").write_bytes(audio.encoded(samples, 24_000, "wav"))
    with pytest.raises(RequestError, match="carries no recipe"):
        recipes_of_file(tmp_path / "a.wav")
    with pytest.raises(RequestError, match="is no file"):
        recipes_of_file(tmp_path / "none.wav")


@NODE
def test_the_history_keeps_fifty_and_those_with_a_star_longest():
    found = node(
        """
        const recipe = { request: { prompt: "p", seed: 1, duration_s: 2 }, model: { id: "simba" } };
        let list = [];
        for (let i = 0; i < 60; i++) {
          const urls = [`http://x:1/gradio_api/file=/tmp/${i}.wav`];
          const pair = { id: `${i}`, recipes: { A: recipe }, urls: { A: urls[0] } };
          list = withEntry(list, entryOf(i % 2 ? pair : { ...pair, recipes: [recipe], urls }, i));
          if (i === 3) list[0].star = true;
        }
        const again = withEntry(list, { ...list[9] });
        const kept = parsedHistory(JSON.stringify(list));
        const broken = ["{", "3", "[{}]", '[{"id":"a","at":1}]', null].map(parsedHistory);
        console.log(JSON.stringify({ ids: list.map((e) => e.id), first: list[0], broken,
          again: again.length, same: kept.length }));
        """,
        "store",
    )
    assert found["ids"] == [*map(str, range(59, 10, -1)), "3"]
    assert found["first"]["urls"] == ["/gradio_api/file=/tmp/59.wav"]
    assert found["first"]["asked"] == {
        "prompt": "p",
        "seed": 1,
        "seeds": [1],
        "settings": {"duration_s": 2},
        "models": {"left": "simba", "right": "simba"},
    }
    assert found["again"] == found["same"] == 50 and found["broken"] == [[]] * 5
