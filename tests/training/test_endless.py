"""The endless corpus: one stream for any number of workers, and none of them is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from endless_pieces import SEED, bad_seed, broken, dying, noise

from simba_music.errors import RequestError
from simba_music.training.codec import crops as codec_crops
from simba_music.training.codec.crops import RandomCrops
from simba_music.training.codec.model import CodecShape
from simba_music.training.corpus.composing.compose import compose
from simba_music.training.corpus.composing.plan import held_out_pair, split_of
from simba_music.training.corpus.endless import Endless, compose_seed, train_seeds

RATE = 24_000


def stream(workers, pieces, first=0):
    with Endless(SEED, workers, RATE, first, noise) as made:
        found = [next(made) for _ in range(pieces)]
    assert next(made, None) is None and not multiprocessing.active_children()
    return found


def test_the_stream_is_the_same_for_any_workers_and_from_any_piece_on():
    one, two, later = stream(1, 6), stream(2, 6), stream(3, 3, first=3)
    assert [p.number for p in one] == list(range(6)) and [p.number for p in later] == [3, 4, 5]
    for a, b in [*zip(one, two, strict=True), *zip(one[3:], later, strict=True)]:
        assert a.row == b.row
        np.testing.assert_array_equal(a.samples, b.samples)
    seeds = [p.row["seed"] for p in one]
    assert seeds == sorted(set(seeds)) and seeds[0] >= SEED


def test_what_is_held_out_never_enters_the_stream():
    seeds = [seed for seed, _ in zip(train_seeds(SEED), range(60), strict=False)]
    assert {split_of(seed) for seed in seeds} == {"train"}
    assert len(seeds) < seeds[-1] - seeds[0] + 1  # some between them are held out
    for seed in seeds:
        plan = compose(seed)[1]
        players = {name for role, name in plan.lineup.items() if role != "drums"}
        assert not any(held_out_pair(name, plan.genre) for name in players)


@pytest.mark.parametrize("make, said", [(broken, "no such chord"), (dying, "exit code 3")])
def test_a_broken_worker_is_an_error_that_ends_them_all(make, said):
    made = Endless(SEED, 2, RATE, 0, make)
    with pytest.raises(RuntimeError, match=said) as error:
        for _ in range(3):  # the third is the bad one; who dies may take along what was ready
            next(made)
    assert make is dying or str(bad_seed()) in str(error.value)
    assert not multiprocessing.active_children()


def test_processes_end_when_the_stream_is_dropped():
    made = Endless(SEED, 2, RATE, 0, noise)
    next(made)
    assert len(multiprocessing.active_children()) == 2
    del made
    assert not multiprocessing.active_children()


def test_processes_end_when_their_parent_is_killed():
    code = (
        "import multiprocessing, time\n"
        "from endless_pieces import SEED, noise\n"
        "from simba_music.training.corpus.endless import Endless\n"
        "if __name__ == '__main__':\n"
        "    made = Endless(SEED, 1, 24_000, 0, noise)\n"
        "    next(made)\n"
        "    print(*[p.pid for p in multiprocessing.active_children()], flush=True)\n"
        "    time.sleep(60)\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = [sys.executable, "-c", code]
    with subprocess.Popen(
        run, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    ) as parent:
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def batches(count, first=0, workers=1, corpora=(Path(f"compose:{SEED}"),), **changes):
    made = RandomCrops(corpora, CodecShape(), 8, 0.2, 0, first, workers, noise)
    found = [next(made).numpy() for _ in range(count)]
    made.close()
    return found, made


def test_crops_of_an_endless_corpus_resume_and_move_on(monkeypatch):
    monkeypatch.setattr(codec_crops, "FIRST", 3)
    monkeypatch.setattr(codec_crops, "POOL", 4)
    monkeypatch.setattr(codec_crops, "PIECE_S", 1.2)  # a new piece after every sixth crop
    (whole, made), (rest, _) = batches(6), batches(2, first=4, workers=2)
    assert whole[0].shape == (8, 4800) and whole[0].dtype == np.float32
    for a, b in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(whole[0], whole[1])
    described = made.describe()[0]
    assert described["name"] == f"compose:{SEED}" and described["pieces"] == 3 + 47 // 6
    assert made.hours() == {f"compose:{SEED}": described["hours"]["train"]}


def test_folders_give_a_share_beside_an_endless_corpus(corpus, monkeypatch):
    monkeypatch.setattr(codec_crops, "FIRST", 2)
    found, made = batches(20, corpora=(Path(f"compose:{SEED}"), corpus))
    # The folder's sines are smoother than noise.
    rough = [np.abs(np.diff(crop)).mean() / np.abs(crop).mean() for b in found for crop in b]
    assert 0.1 < np.mean(np.array(rough) < 0.5) < 0.45
    assert [c["name"] for c in made.describe()] == [corpus.name, f"compose:{SEED}"]


def test_names_of_endless_corpora_are_checked():
    assert compose_seed(Path("runs/corpus")) is None and compose_seed("compose:12") == 12
    for text in ("compose:", "compose:-1", "compose:x"):
        with pytest.raises(RequestError, match="compose:SEED"):
            compose_seed(text)
    with pytest.raises(RequestError, match="can be one"):
        batches(1, corpora=(Path("compose:1"), Path("compose:2")))


@pytest.mark.fluidsynth
def test_a_piece_sounds_the_same_whatever_was_rendered_before_it():
    with Endless(SEED, 1, RATE) as one, Endless(SEED, 2, RATE) as two:
        for _ in range(5):
            a, b = next(one), next(two)
            assert a.row == b.row and len(a.samples) == round(a.row["duration_s"] * RATE)
            np.testing.assert_array_equal(a.samples, b.samples)
