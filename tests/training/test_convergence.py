"""The convergence experiment: what it concludes from figures, and a run of it from end to end."""

from dataclasses import replace

import pytest
from test_adherence import BENCH

from simba_music.errors import RequestError
from simba_music.files import read_json, write_json
from simba_music.models.report import notes, table
from simba_music.training.experiments import convergence
from simba_music.training.experiments.convergence import COMPARED, Plan, run_convergence
from simba_music.training.experiments.convergence_report import draw, summary, verdict
from simba_music.training.lm.preset import PRESETS

STEPS = (10, 20, 30)


def made_up(better):
    """Runs of three seeds in which SiMBA's loss is lower by `better`, KAD and the rest the same."""
    runs = {}
    for name in COMPARED:
        runs[name] = []
        for seed in range(3):
            noise = 0.01 * seed * (-1) ** seed
            low = better if name.startswith("simba-mlp") else 0.0
            history = [
                {"step": s, "valid": 6 - s / 20 - low + noise * (len(name) % 3), "flops": 1e9 * s,
                 "seconds": float(s)}
                for s in STEPS
            ]  # fmt: skip
            clips = {"instruments": 0.6, "drums": 0.7, "alignment": 0.3, "kad": 5.0 + noise}
            runs[name].append({"history": history, "clips": {str(s): clips for s in STEPS}})
    return runs


def test_a_verdict_needs_an_interval_on_one_side():
    assert verdict(-0.2, -0.1, more_is_better=False) == "held"
    assert verdict(-0.2, -0.1, more_is_better=True) == "not held"
    assert verdict(0.1, 0.2, more_is_better=True) == "held"
    assert verdict(-0.1, 0.2, more_is_better=True) == "undecided"


def test_claims_are_judged_by_paired_seeds(tmp_path):
    for better, said in ((0.3, "held"), (-0.3, "not held"), (0.0, "undecided")):
        rows, remarks = summary(made_up(better), STEPS, STEPS)
        faster = [r for r in remarks if "converges faster" in r and "(prefix" in r]
        assert len(faster) == 1 and f"**{said}**" in faster[0], remarks
        closer = [r for r in remarks if "by KAD" in r and "(cross" in r]
        assert len(closer) == 1 and "**undecided**" in closer[0]
    assert {row["model"] for row in rows} == set(COMPARED) and len(remarks) == 12
    assert len(rows) == 5 * len(STEPS) * len(COMPARED) and all(row["n"] == 3 for row in rows)
    draw(made_up(0.3), STEPS, tmp_path / "docs" / "experiment.png")
    for name in ("experiment.png", "experiment-clips.png"):
        assert (tmp_path / "docs" / name).stat().st_size > 10_000
    assert read_json(tmp_path / "docs" / "experiment.json") == made_up(0.3)
    shown = notes({"rows": rows, "notes": remarks})
    assert shown.count("\n- ") == 11 and "KAD" in table(rows)


def test_what_cannot_be_judged_is_refused(tmp_path):
    plan = Plan(tmp_path, tmp_path, tmp_path / "out", BENCH, PRESETS["tiny"])
    with pytest.raises(RequestError, match="snapshots"):
        run_convergence(plan, 3, 1, "clap")
    with pytest.raises(RequestError, match="at least 2"):
        run_convergence(plan, 1, 1, "clap")


@pytest.mark.slow  # five minutes
@pytest.mark.fluidsynth
def test_an_experiment_trains_measures_and_goes_on(
    tokenised, codec_folder, system, tmp_path, monkeypatch
):
    names = ("simba-mlp-prefix", "transformer-prefix", "simba-mlp-cross", "transformer-cross")
    monkeypatch.setattr(convergence, "COMPARED", names)
    preset = replace(PRESETS["tiny"], steps=12, validate_every=4, snapshots=(4, 8))
    plan = Plan(tokenised, codec_folder, tmp_path, BENCH, preset, clips=4)
    rows, remarks, runs = run_convergence(plan, 2, 2, str(system / "clap"))
    assert len(remarks) == 12 and set(runs) == set(names)
    assert {row["metric"].split(", step ")[1] for row in rows} == {"4", "8", "12"}
    first, second = (plan.folder(names[0], seed) for seed in range(2))
    assert read_json(first / "training.json")["preset"]["seed"] == 0
    lost = (second / convergence.CLIP_FILE).read_bytes()
    (second / convergence.CLIP_FILE).unlink()
    again, _, _ = run_convergence(plan, 2, 2, str(system / "clap"))
    less, _, _ = run_convergence(replace(plan, count=1), 2, 2, str(system / "clap"))
    assert less == [r for r in rows if "held-out" in r["metric"] or "step 12" in r["metric"]]
    assert again == rows and (second / convergence.CLIP_FILE).read_bytes() == lost
    known = tmp_path / "docs" / "experiment.json"
    draw(runs, plan.measured, known.with_suffix(".png"))
    elsewhere = replace(plan, out=tmp_path / "elsewhere", known=known)
    assert run_convergence(elsewhere, 2, 2, str(system / "clap")) == (rows, remarks, runs)
    folder = elsewhere.folder(names[0], 1)
    assert not (folder / "training.json").exists()
    told = read_json(known)
    told[names[0]][1]["clips"]["8"]["tagger"] = "another"
    write_json(known, told)
    (folder / convergence.CLIP_FILE).unlink()
    made, _, _ = run_convergence(elsewhere, 2, 2, str(system / "clap"))
    assert [row["value"] for row in made] == pytest.approx([row["value"] for row in rows], rel=1e-4)
    assert read_json(folder / "training.json")["steps"] == 8
    told[names[0]][0]["history"][0]["valid"] += 1
    del told[names[0]][0]["clips"]["4"]
    write_json(known, told)
    with pytest.raises(RequestError, match="another training"):
        run_convergence(replace(elsewhere, out=tmp_path / "third"), 2, 2, str(system / "clap"))
