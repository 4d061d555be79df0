"""Baselines: what decodes elsewhere, at the same dimensions, with the same guidance and sampling.

`transformers`' MusicGen with its cache, its Mamba-2 with its cache, and the whole sequence run
again for every code, as the authors' script does.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    Mamba2Config,
    Mamba2ForCausalLM,
    MusicgenForCausalLM,
)
from transformers.models.musicgen.configuration_musicgen import MusicgenDecoderConfig

from simba_music.conditioning.request import Request
from simba_music.generation.decoding import read_requests
from simba_music.generation.loaded_models import LoadedModel
from simba_music.generation.sampling import Sampling, draw_noise, guide, sample
from simba_music.models.config import EXPAND, LMConfig
from simba_music.training.benchmark.memory_floor import (
    decoded_parameters,
    moved_bytes,
    parameters_of,
    weight_bytes,
)
from simba_music.training.benchmark.rows import MAMBA2, MUSICGEN, RERUN
from simba_music.training.benchmark.systems import PROMPT, Competitor, Pair, millions, shape_of

CLIP_S = 10.0
_TEXT = 16  # states that MusicGen attends to
_SEED = 1


def baselines(
    pair: Pair, bfloat16: bool, positions: Sequence[int]
) -> Iterator[tuple[str, Callable[[], Competitor]]]:
    """Every baseline by name, and what makes it.

    Args:
        pair: the models whose dimensions they have.
        bfloat16: whether the processor multiplies in it.
        positions: steps at which the whole sequence is run again.
    """
    for dtype in ("float32", "bfloat16") if bfloat16 else ("float32",):
        config = pair.config("transformer")
        for cross in (False, True):
            yield f"{MUSICGEN} {dtype}", partial(musicgen, config, dtype, cross)
        yield f"{MAMBA2} {dtype}", partial(mamba2, pair.config("simba"), dtype)
    yield RERUN, partial(rerun, pair.models["simba"], positions)


def _steps(batch: int, config: LMConfig, steps: int) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(_SEED) for _ in range(batch)]
    return draw_noise(generators, steps, (1, config.vocab))


def musicgen(config: LMConfig, dtype: str, cross: bool) -> Competitor:
    """`MusicgenForCausalLM.generate` with the dimensions of a Transformer of ours.

    Args:
        config: the Transformer's.
        dtype: of weights and cache.
        cross: whether it attends to text, as MusicGen does; ours have it as a prefix.
    """
    shape = MusicgenDecoderConfig(
        vocab_size=config.vocab,
        num_hidden_layers=config.n_layers,
        ffn_dim=config.d_ff,
        num_attention_heads=config.n_heads,
        hidden_size=config.d_model,
        num_codebooks=1,
        pad_token_id=config.vocab,
        bos_token_id=config.vocab,
    )
    model: Any = MusicgenForCausalLM(shape).eval().to(getattr(torch, dtype))
    first = torch.full((1, 1), config.vocab)
    # Without the start token and the number of sequences `generate` of 5.24 fails.
    how = {
        "do_sample": True,
        "top_k": Request.top_k,
        "guidance_scale": Request.guidance,
        "decoder_start_token_id": config.vocab,
        "num_return_sequences": 1,
    }

    def run(steps: int) -> float:
        text = dict[str, Any]()
        if cross:  # the cache that it makes itself would add the text's keys at every step
            states = torch.randn(2, _TEXT, config.d_model).to(model.dtype)
            cache = EncoderDecoderCache(DynamicCache(config=shape), DynamicCache(config=shape))
            mask = torch.ones(2, _TEXT, dtype=torch.long)
            text = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
            text["cache"] = cache
        started = time.process_time()
        made = model.generate(first, max_new_tokens=steps, **how, **text)
        taken = time.process_time() - started
        if made.shape[-1] != steps:
            raise RuntimeError(f"MusicGen made {made.shape[-1]} codes of {steps}.")
        return taken / steps

    left = ("embed_tokens", "encoder_attn.k_proj", "encoder_attn.v_proj")
    read = parameters_of(model, left if cross else (*left, "encoder_attn"))
    engine = "transformers, text by cross-attention" if cross else "transformers"
    words = f"{millions(model)}, d_ff {config.d_ff}"
    weights = weight_bytes(read, dtype)
    item = 2 if dtype == "bfloat16" else 1
    return Competitor(
        MUSICGEN, engine, dtype, words, run, weights, lambda n: moved_bytes(config, n // 2) // item
    )


def mamba2(config: LMConfig, dtype: str) -> Competitor:
    """`Mamba2ForCausalLM`, a step at a time with its cache; it has no MLP.

    Its `generate` would run twice for guidance, so that the loop is ours, with both rows at once.
    """
    shape = Mamba2Config(
        num_heads=config.n_heads,
        head_dim=EXPAND * config.d_model // config.n_heads,
        vocab_size=config.vocab,
        hidden_size=config.d_model,
        state_size=config.d_state or 0,
        num_hidden_layers=config.n_layers,
        n_groups=1,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=None,
    )
    model: Any = Mamba2ForCausalLM(shape).eval().to(getattr(torch, dtype))
    sampling = Sampling.of([Request(PROMPT)])

    @torch.inference_mode()
    def run(steps: int) -> float:
        ids, cache = torch.zeros(2, 1, dtype=torch.long), None
        started = time.process_time()
        for noise in _steps(1, config, steps):
            found = model(input_ids=ids, cache=cache, use_cache=True)
            cache = found.cache
            conditional, unconditional = found.logits[:, -1:].float().chunk(2)
            logits = guide(conditional, unconditional, sampling.guidance)
            ids = sample(logits, noise, sampling).repeat(2, 1)
        return (time.process_time() - started) / steps

    words = f"{millions(model)}, no MLP, d_state {config.d_state}"
    weights = weight_bytes(parameters_of(model, ("embeddings",)), dtype)
    item = 2 if dtype == "bfloat16" else 1
    return Competitor(
        MAMBA2, "transformers", dtype, words, run, weights, lambda n: moved_bytes(config, n) // item
    )


def rerun(model: LoadedModel, positions: Sequence[int]) -> Competitor:
    """SiMBA without a state: `forward` over all codes so far for the next one.

    It is run at some positions, and its mean over a clip of 10 s is that of the line through
    them, because the whole would take minutes.
    """
    lm, config = model.lm, model.lm.config
    rate = config.codec.frame_rate
    request = Request(PROMPT, CLIP_S)
    batch = read_requests(config, model.encoder, [request])
    sampling = Sampling.of([request])

    @torch.inference_mode()
    def run(steps: int) -> float:
        seconds = []
        for position in positions:
            given, noise = batch.conditioning(position, rate), _steps(1, config, 1)[0]
            codes = torch.randint(config.vocab, (1, 1, position)).repeat(2, 1, 1)
            started = time.process_time()
            conditional, unconditional = lm(codes, given)[:, :, -1].float().chunk(2)
            sample(guide(conditional, unconditional, sampling.guidance), noise, sampling)
            seconds.append(time.process_time() - started)
        span = positions[-1] - positions[0]
        return float(np.trapezoid(seconds, positions)) / span

    weights = weight_bytes(decoded_parameters(lm), "float32")
    shape = shape_of(config, lm)
    return Competitor("simba", RERUN, "float32", shape, run, weights, lambda n: 0, most=2)
