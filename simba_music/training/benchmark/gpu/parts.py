"""Everything else on a GPU: time to first audio, codec, scorer, and mamba-ssm's own generation."""

import time
from collections.abc import Callable, Iterator

import torch

from simba_music.errors import EngineError
from simba_music.files import read_json
from simba_music.generation.decoding import generate
from simba_music.hub.places import CONFIG, locate
from simba_music.models.checkpoint import codec_source, load_language_model, read_module
from simba_music.models.codec import Codec
from simba_music.scoring.bundled import ScorerConfig, ScorerModel
from simba_music.training.benchmark.gpu.decoding import Engines, peak_gb, synchronise
from simba_music.training.benchmark.gpu.models import Models, RandomText, requests
from simba_music.training.benchmark.gpu.rows import GpuRow
from simba_music.training.benchmark.rows import Spread, figure


def _timed(call: Callable[[], object], device: str, repeats: int) -> Spread:
    found = list[float]()
    for _ in range(1 + repeats):  # the first warms up
        synchronise(device)
        started = time.perf_counter()
        call()
        synchronise(device)
        found.append(time.perf_counter() - started)
    return Spread.of(found[1:])


def _codec(models: Models) -> Codec:
    lm, origin = load_language_model("simba", "cpu")
    return Codec.load(codec_source(lm.config, origin), lm.config.codec, models.device)


def first_audio(engines: Engines, dtype: str, size: str, system: str) -> Iterator[GpuRow]:
    """From a request to the first samples: text apart, prefill, a block of codes, the codec."""
    models = engines.models
    engine, lm = engines.get("graph", dtype, size, system), models.lm(size, system)
    codec = _codec(models)

    def begin() -> None:
        asked = requests(1, models.scale.clip_s)
        state, samples = codec.decode_init(1), 0
        for block in generate(engine, lm.config, RandomText.of(lm.config), asked):
            (wave,), state = codec.decode_step(block, state)
            samples += wave.samples.shape[-1]
            if samples:
                return

    seconds = _timed(begin, models.device, 5)
    yield GpuRow(
        group="latency",
        what=f"{system}, first audio",
        size=models.name(size),
        engine="graph",
        dtype=dtype,
        seconds=seconds,
        note="text encoder apart; the codec streams on the CPU",
    )


def codec_seconds(models: Models) -> Iterator[GpuRow]:
    """Decoding of a clip's codes, whole, on the device."""
    codec = _codec(models)
    frames = round(models.scale.clip_s * codec.frame_rate)
    codes = torch.randint(codec.ref.codebook_size, (1, 1, frames), generator=torch.Generator())
    codes = codes.to(models.device)
    yield GpuRow(
        group="parts",
        what=f"codec, {models.scale.clip_s:g} s of sound",
        seconds=_timed(lambda: codec.decode(codes), models.device, 5),
        peak_gb=peak_gb(models.device),
    )


def scorer_seconds(models: Models) -> Iterator[GpuRow]:
    """The bundled scorer's embedding of a clip, on the device."""
    folder = locate("clap").folder
    config = ScorerConfig.model_validate(read_json(folder / CONFIG))
    scorer = read_module(lambda: ScorerModel(config), folder).eval().to(models.device)
    samples = torch.randn(1, round(models.scale.clip_s * config.sample_rate)).to(models.device)

    @torch.no_grad()
    def embed() -> None:
        scorer.embed_audio(scorer.log_mel(samples))

    yield GpuRow(
        group="parts",
        what=f"scorer, {models.scale.clip_s:g} s of sound",
        seconds=_timed(embed, models.device, 5),
    )


def mamba_ssm_generation(models: Models) -> Iterator[GpuRow]:
    """`MambaLMHeadModel.generate` of mamba-ssm at SiMBA's width and depth, with its CUDA graph.

    Raises:
        EngineError: If mamba-ssm does not import here.
    """
    try:
        from simba_music.models.mamba2 import mamba_ssm_lm

        model = mamba_ssm_lm(models.config("simba"), models.device)
    except ImportError as error:
        raise EngineError(f"mamba-ssm does not import: {error}") from error
    own_generate: Callable[..., object] = getattr(model, "generate")  # noqa: B009
    steps, first = models.scale.steps, torch.zeros(2, 1, dtype=torch.long, device=models.device)

    def run() -> None:
        own_generate(first, max_length=steps + 1, top_k=100, cg=True)

    seconds = _timed(run, models.device, models.scale.repeats)
    yield GpuRow(
        group="decoding",
        what="mamba-ssm",
        size=models.name("random"),
        engine="mamba-ssm, CUDA graph, no MLP, two rows without guidance",
        dtype="bfloat16",
        tokens_per_s=figure(steps / seconds.median),
        seconds=seconds,
    )
