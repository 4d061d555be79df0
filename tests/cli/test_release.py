"""The release: every step once, again only with other weights, and from where it failed."""

import pytest

from simba_music.__main__ import main
from simba_music.cli.training import release
from simba_music.cli.training.release import carry_out, plan, weights
from simba_music.errors import RequestError, UserError

STEPS = {"gallery": ["gallery", "p"], "prompts": ["evaluate", "prompts"], "report": ["report"]}


@pytest.fixture
def ran(monkeypatch):
    found = []
    monkeypatch.setattr(release, "run", lambda words: found.append(words[-1]))
    return found


def test_a_step_is_done_once_for_the_same_weights_and_the_report_always(ran, tmp_path):
    state = tmp_path / "runs" / "state.json"
    carry_out(STEPS, {"simba": "1"}, state)
    carry_out(STEPS, {"simba": "1"}, state)
    assert ran == ["p", "prompts", "report", "report"]
    carry_out(STEPS, {"simba": "2"}, state)
    assert ran[4:] == ["p", "prompts", "report"]
    carry_out(STEPS | {"gallery": ["gallery", "q"]}, {"simba": "2"}, state)
    assert ran[7:] == ["q", "report"]


def test_a_release_goes_on_with_the_step_that_failed(monkeypatch, tmp_path):
    ran = []

    def failing(words):
        ran.append(words[-1])
        if words[-1] == "prompts" and ran.count("prompts") == 1:
            raise UserError("full")

    monkeypatch.setattr(release, "run", failing)
    with pytest.raises(UserError):
        carry_out(STEPS, {}, tmp_path / "state.json")
    carry_out(STEPS, {}, tmp_path / "state.json")
    assert ran == ["p", "prompts", "prompts", "report"]


def test_every_command_of_the_plan_is_one_that_there_is(tmp_path, capsys):
    for words in plan(tmp_path, tmp_path, (tmp_path, tmp_path)).values():
        name = words[:1] if words[0] != "evaluate" else words[:2]
        assert main([*name, "--help"]) == 0
        options = capsys.readouterr().out
        assert all(word in options for word in words if word.startswith("--"))


def test_a_command_that_fails_is_named():
    with pytest.raises(UserError, match="gallery none-such"):
        release.run(["gallery", "none-such"])


def test_a_release_needs_both_runs_and_checkpoints(tmp_path, monkeypatch, capsys):
    assert main(["release", "--simba", str(tmp_path)]) == 2
    assert "both --simba and --transformer" in capsys.readouterr().err
    with pytest.raises(RequestError, match="has no checkpoints"):
        weights(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["release"]) == 2


def test_a_dry_run_prints_and_makes_nothing(ran, capsys):
    assert main(["release", "--dry-run"]) == 0
    assert not ran
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("simba-music gallery") and lines[-1] == "simba-music report"
