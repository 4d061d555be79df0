"""Both stores of clips keep the same promises; a storage that fails is a sentence."""

import uuid

import pytest
from ballots import battle

from simba_music.errors import UserError
from simba_music.listening import clip_store
from simba_music.listening.clip_store import FolderStore, ObjectStore, open_clips
from simba_music.listening.trials import ListeningTest

SECRET = "a secret of the tests"


@pytest.fixture(params=["folder", "objects"])
def store(request, tmp_path):
    if request.param == "folder":
        return FolderStore(tmp_path / "clips")
    return ObjectStore(f"memory://{uuid.uuid4().hex}/clips")


def test_a_store_gives_back_what_it_keeps_until_it_is_deleted(store, monkeypatch):
    assert store.held_bytes() == 0 and store.free_bytes() > 1e6
    with pytest.raises(FileNotFoundError):
        store.read("a")
    store.write("a", b"one")
    store.write("a", b"one")
    store.write("b", b"four")
    monkeypatch.setattr(clip_store, "COUNTED_S", 0.0)
    assert (store.read("a"), store.read("b"), store.held_bytes()) == (b"one", b"four", 7)
    store.delete("a")
    store.delete("a")
    assert store.held_bytes() == 4
    with pytest.raises(FileNotFoundError):
        store.read("a")


def test_a_pair_of_one_process_is_shown_by_another(base, store):
    first, second = (ListeningTest(base, store, SECRET) for _ in range(2))
    pair = battle(first)
    shown = first.show_once(pair, first.listener_id_of(name := first.new_listener(local=True)))
    again = second.left_open(second.listener_id_of(name))
    assert (again["A"], again["B"]) == (shown["A"], shown["B"])


def test_the_setting_says_where_clips_are(tmp_path, monkeypatch):
    assert open_clips(tmp_path).folder == tmp_path / "clips"
    monkeypatch.setenv("SIMBA_MUSIC_CLIPS", str(tmp_path / "other"))
    assert open_clips(tmp_path).folder == tmp_path / "other"
    monkeypatch.setenv("SIMBA_MUSIC_CLIPS", "memory://bucket/clips")
    assert open_clips(tmp_path).url == "memory://bucket/clips"
    monkeypatch.setenv("SIMBA_MUSIC_CLIPS", "nothing://bucket/clips")
    with pytest.raises(UserError, match=r"SIMBA_MUSIC_CLIPS.*simba-music\[objects\]"):
        open_clips(tmp_path)


def test_a_storage_that_does_not_answer_is_a_sentence(monkeypatch):
    store = ObjectStore("memory://bucket/clips")

    def fail(*_, **__):
        raise ConnectionResetError("secret address")

    for name in ("pipe_file", "cat_file", "rm_file", "find"):
        monkeypatch.setattr(store._fs, name, fail)
    asked = (lambda: store.write("a", b""), lambda: store.read("a"), lambda: store.delete("a"))
    for ask in (*asked, store.held_bytes):
        with pytest.raises(UserError, match="does not answer.*ConnectionResetError") as told:
            ask()
        assert "secret address" not in str(told.value)
