import os
from pathlib import Path

import pytest

from simba_music.errors import UserError
from simba_music.settings import Settings, data_folder, settings
from simba_music.settings.process import prepare_libraries
from simba_music.settings.variables import variables

NAMES = [v.name for v in variables()]


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_an_unset_or_empty_variable_has_its_default(monkeypatch):
    unset = settings()
    assert (unset.left, unset.right, unset.scorer) == ("simba", "transformer", "clap")
    assert (unset.device, unset.threads, unset.any_model) == ("auto", 1, None)
    assert (unset.max_download_gb, unset.model_memory_gb, unset.votes_public) == (4, 8, False)
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert settings() == unset


def test_a_variable_is_read_when_it_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("SIMBA_MUSIC_THREADS", "3")
    monkeypatch.setenv("SIMBA_MUSIC_DEVICE", "cuda:1")
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path))
    assert settings().threads == 3 and settings().device == "cuda:1" and data_folder() == tmp_path
    monkeypatch.delenv("SIMBA_MUSIC_DATA")
    assert data_folder().name == "simba-music" and data_folder().is_absolute()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("SIMBA_MUSIC_THREADS", "two", "a whole number from 1"),
        ("SIMBA_MUSIC_THREADS", "0", "a whole number from 1"),
        ("SIMBA_MUSIC_DEVICE", "gpu", "auto, cpu, cuda, cuda:N or mps"),
        ("SIMBA_MUSIC_ANY_MODEL", "maybe", "1 or 0"),
        ("SIMBA_MUSIC_VOTES_PUBLIC", "2", "1 or 0"),
        ("SIMBA_MUSIC_MAX_DOWNLOAD_GB", "nan", "a number from 0"),
        ("SIMBA_MUSIC_MODEL_MEMORY_GB", "-1", "a number from 0"),
        ("SIMBA_MUSIC_VOTES", "votes", "org/name"),
    ],
)
def test_a_wrong_value_names_the_variable_the_value_and_what_is_allowed(
    monkeypatch, name, value, allowed
):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        settings()
    said = str(caught.value)
    assert f"{name} must be {allowed}; got {value!r}" in said and "docs/settings.md" in said


def test_a_secret_is_never_shown(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "user:hush")
    with pytest.raises(UserError, match="DATABASE_URL must be an address") as caught:
        settings()
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("DATABASE_URL", "sqlite:///hush")
    monkeypatch.setenv("SIMBA_MUSIC_SECRET", "hush")
    assert settings().secret == "hush" and "hush" not in repr(settings())


def test_every_variable_says_what_it_is():
    assert len(set(NAMES)) == len(NAMES) == len(Settings.model_fields)
    for row in variables():
        assert row.meaning.endswith(".") and row.allowed and row.default not in ("", "``", "`None`")
        assert "|" not in row.meaning + row.allowed + row.default


def test_libraries_are_prepared_but_what_the_user_said_stays(monkeypatch):
    for name in ("OMP_NUM_THREADS", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    prepare_libraries()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert "OMP_NUM_THREADS" not in os.environ
    prepare_libraries(2)
    prepare_libraries(5)
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_readme_links_the_page():
    assert "docs/settings.md" in (Path(__file__).parent.parent / "README.md").read_text()
