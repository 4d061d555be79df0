"""The gallery: pairs written once, offered from then on without any generation."""

import pytest

from simba_music.files import read_json, write_json
from simba_music.generation.clip import pack_codes
from simba_music.listening import gallery
from simba_music.listening.votes.ballot import VoteError


@pytest.fixture(scope="module")
def written(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "gallery.json"
    gallery.write_gallery(pipeline, ["calm piano", "fast drums"], 2.0, path)
    return path


def test_every_pair_is_offered_once_whoever_opens_it(test, pipeline, written):
    for _ in range(2):
        gallery.open_gallery(test, pipeline, written)
    listener = test.listener_id_of(test.new_listener(local=False))
    assert len(test.unheard(listener)) == 2
    pairs = [test.database.battle(name) for name in test.unheard(listener)]
    assert all(b.gallery == test.gallery and b.study is None for b in pairs)
    assert test.next_pair(listener)["prompt"] in ("calm piano", "fast drums")


def test_a_pair_sounds_as_the_models_wrote_it(test, pipeline, written):
    gallery.open_gallery(test, pipeline, written)
    item = read_json(written)["items"][0]
    request = pipeline.validate(prompt=item["prompt"], seed=item["seed"], duration_s=2.0)
    for side in ("left", "right"):
        (clip,) = pipeline.generate_batch([request], side)
        assert pack_codes(clip.codes) == item["sides"][side]["codes_b64"]


def test_a_pair_is_on_offer_before_the_next_is_decoded(test, pipeline, written, monkeypatch):
    seen, decoded = [], gallery.decoded

    def watching(*args):
        seen.append((test.preparing, len(test.unheard("nobody"))))
        return decoded(*args)

    monkeypatch.setattr(gallery, "decoded", watching)
    gallery.open_gallery(test, pipeline, written)
    assert seen == [(True, 0), (True, 0), (True, 1), (True, 1)] and not test.preparing


def test_a_gallery_of_another_codec_is_left_out(test, pipeline, written, tmp_path, caplog):
    found = read_json(written)
    for item in found["items"]:
        item["sides"]["left"]["codec"]["sha256"] = "0" * 64
    other = tmp_path / "other.json"
    write_json(other, found)
    gallery.open_gallery(test, pipeline, other)
    listener = test.listener_id_of(test.new_listener(local=False))
    assert "codec that is not loaded" in caplog.text
    with pytest.raises(VoteError, match="Type a prompt"):
        test.next_pair(listener)


def test_no_gallery_is_no_error(test, pipeline, tmp_path):
    gallery.open_gallery(test, pipeline, tmp_path / "none.json")
    assert test.gallery is None


def test_the_bundled_gallery_belongs_to_the_bundled_models():
    from simba_music.files import sha256
    from simba_music.hub.places import BUNDLED

    for item in read_json(gallery.GALLERY)["items"]:
        for side in item["sides"].values():
            folder = BUNDLED / side["model"]["id"]
            assert side["model"]["sha256"] == sha256(folder / "model.safetensors")
