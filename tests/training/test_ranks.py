"""Training on two processes that share every batch: the same as one, whatever the shares."""

import os
import shutil
import socket
import sys
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing
from safetensors.torch import load_file

from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.models.codec import Codec
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.trainer import train_codec
from simba_music.training.corpus import tokens
from simba_music.training.judges import scorer as clap
from simba_music.training.lm import preset as lm_preset
from simba_music.training.lm.trainer import train_lm
from simba_music.training.ranks import Ranks, joined
from simba_music.training.resume import read_state, write_state

# Three rows of two ranks, and two that the discriminator judges: none of it can be shared evenly.
CODEC = CodecPreset(
    batch=3, crop_s=0.4, warmup_fraction=0.0, latents=2500, minutes=1e6, peak_weight=0.2,
    judge_fraction=0.0, adversarial_fraction=0.0, adversarial_batch=2, channels=2,
)  # fmt: skip
CLAP = clap.ClapPreset(steps=3, batch=6, channels=(4, 8), width=8, round_trips=4)
LM = replace(
    lm_preset.PRESETS["tiny"], steps=2, accumulate=3, tokens_per_batch=1200, validate_every=2
)


def train_all(corpus, codec, out):
    """Codec, scorer and language model, the first two in two goes."""
    (out / "codec").mkdir(parents=True, exist_ok=True)
    for steps in (1, 2):
        train_codec([corpus], out / "codec", CODEC, out / "codec" / "resume.state", steps)
    ref = tokens.codec_ref(codec)
    for limit in (1, 2, None):
        if limit is None:  # the end of a training removes its state
            part = out / f"clap.{os.getpid()}"
            torch.save(read_state(out / "clap" / "resume.state", "cpu"), part)
            part.replace(out / "clap.state")
        clap.train_clap(corpus, out / "clap", Codec.load(codec, ref), CLAP, limit_steps=limit)
    (out / "lm").mkdir(exist_ok=True)
    books = tokens.codebooks_of(codec)
    train_lm(corpus, out / "lm", lm_preset.Architecture(), LM, ref, books)


def one_rank(rank, port, corpus, codec, out):
    started = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    started |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    os.environ |= {name: str(value) for name, value in started.items()}
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        rows = torch.arange(10.0).view(5, 2)
        assert torch.equal(ranks.gathered(rows[ranks.rows(5)]), rows)
        norm = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
        ranks.share_norms(norm)
        assert torch.equal(norm(torch.ones(1 + rank, 2, 1, 1)), torch.zeros(1 + rank, 2, 1, 1))
        for what in (lambda: ranks.check_same("the rank", rank), lambda: ranks.rows(1)):
            try:
                what()
            except RequestError:
                continue
            raise AssertionError("not refused")
        train_all(corpus, codec, out)


@pytest.fixture(scope="module")
def trained(tokenised, codec_folder, tmp_path_factory):
    """What one process has trained, and what two have, who have one folder."""
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = os.environ.copy()
    os.environ |= {"PYTHONWARNINGS": "ignore", "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        arguments = (port, tokenised, codec_folder, out / "two")
        torch.multiprocessing.spawn(one_rank, arguments, nprocs=2)
    finally:
        os.environ.clear()
        os.environ |= before
    train_all(tokenised, codec_folder, out / "one")
    return out


def apart(found, wanted, begun=None):
    """How far tensors are apart, over how far they are from where they began, or from zero."""
    both = [(found[n].double(), wanted[n].double(), (begun or {}).get(n, 0.0)) for n in wanted]
    way = sum(float((b - c).norm() ** 2) for _, b, c in both)
    assert way > 0
    return (sum(float((a - b).norm() ** 2) for a, b, _ in both) / way) ** 0.5


def averages(optimiser):
    """Moving averages of the gradients; Adam's steps alone are nearly the same at any scale."""
    return {n: state["exp_avg"] for n, state in optimiser["state"].items()}


def states(trained, path):
    return (read_state(trained / name / path, "cpu") for name in ("one", "two"))


@pytest.mark.ranks
@pytest.mark.parametrize("stage", ["codec", "clap", "lm"])
def test_two_ranks_train_what_one_process_does(trained, stage):
    one, two = (load_file(trained / name / stage / "model.safetensors") for name in ("one", "two"))
    assert apart(two, one) < 1e-3
    assert read_json(trained / "two" / stage / "training.json")["processes"] == 2
    assert read_json(trained / "one" / stage / "training.json")["processes"] == 1


@pytest.mark.ranks
def test_two_ranks_have_the_gradients_of_one_process(trained):
    one, two = states(trained, "clap.state")
    assert one["steps"] == two["steps"] == 2
    assert apart(averages(two["optimiser"]), averages(one["optimiser"])) < 1e-3
    one, two = states(trained, "lm/resume.state")
    for theirs, ours in zip(two["optimisers"], one["optimisers"], strict=True):
        assert apart(averages(theirs), averages(ours)) < 1e-2
    one, two = states(trained, "codec/resume.state")
    assert one["steps"] == two["steps"] == 2
    for part in ("optimiser", "judge"):
        # Logarithms of quiet bands make much of the last bit, at every step more.
        assert apart(averages(two[part]), averages(one[part])) < 3e-2, part
    for name, average in one["averages"].items():
        assert two["averages"][name] == pytest.approx(average, rel=1e-2), name
    for name in ("counts", "sums", "embed"):
        codes = ({name: state["quantizer"][name]} for state in (two, one))
        assert apart(*codes) < 1e-2, name


@pytest.mark.ranks
@pytest.mark.parametrize("stage", ["codec", "lm"])
def test_two_ranks_write_half_of_a_state_each(trained, tmp_path, stage):
    shutil.copytree(trained / "two" / stage, tmp_path / "two")
    state = tmp_path / "two" / "resume.state"
    whole = (trained / "one" / stage / "resume.state").stat().st_size
    shards = sorted(state.parent.glob("resume-*.shard"))
    assert [shard.stem[-6:] for shard in shards] == ["1-of-2", "2-of-2"]
    assert all(0.4 * whole < shard.stat().st_size < 0.6 * whole for shard in shards)
    one, two = states(trained, f"{stage}/resume.state")
    assert flat(one).keys() == flat(two).keys()
    write_state(state, two)  # by one process, which goes on from it
    assert not list(state.parent.glob("resume-*.shard"))
    found, wanted = flat(read_state(state, "cpu")), flat(two)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(torch.as_tensor(found[n]), torch.as_tensor(wanted[n])) for n in found)


@pytest.mark.ranks
def test_a_missing_shard_is_named(trained, tmp_path):
    shutil.copytree(trained / "two" / "codec", tmp_path / "two")
    (shard,) = (tmp_path / "two").glob("resume-*-2-of-2.shard")
    shard.unlink()
    with pytest.raises(RequestError, match=f"{shard.name}, which is missing"):
        read_state(tmp_path / "two" / "resume.state", "cpu")


def flat(state, path=()):
    """Tensors and numbers of a state by their place in it; texts left out."""
    if isinstance(state, dict | list | tuple):
        parts = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for name, part in parts for k, v in flat(part, (*path, name)).items()}
    return {path: state} if isinstance(state, torch.Tensor | int | float) else {}


def test_alone_nothing_is_exchanged():
    ranks, own = Ranks(), torch.ones(3, requires_grad=True)
    assert (
        ranks.sum(own) is own and ranks.of_first(own) is own and ranks.rows(3) == slice(0, None, 1)
    )
    assert torch.equal(ranks.gathered(own), own) and ranks.number_of_first(2.5) == 2.5
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(1))
    ranks.share_norms(model)
    assert type(model[0]) is torch.nn.BatchNorm2d
    ranks.check_same("anything", object())
