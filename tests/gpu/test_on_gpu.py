"""What needs a CUDA device; `docs/gpu-tests.json` says when each last ran, and on which card."""

import pytest
import torch
from conftest import CODES, lm_config, random_lm
from model_checks import codes, given

from simba_music.conditioning.types import TextEmbedding
from simba_music.generation.engines.choice import EngineChoice, Engines, engine_of, now
from simba_music.generation.engines.graph.engine import GraphEngine
from simba_music.generation.engines.graph.making import capture_problem, make, wrong_draws
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.sampling import Sampling, draw_noise
from simba_music.models.lm import NO_CODE
from simba_music.models.mamba2 import cuda_kernels, kernels_of, ssd
from simba_music.training.lm.batches import Batch
from simba_music.training.lm.loss import total_loss
from simba_music.training.lm.optimiser import make_optimisers
from simba_music.training.lm.preset import preset_with

pytestmark = pytest.mark.gpu
STEPS = 24
MODELS = {
    "simba": {"backbone": "simba"},
    "simba, 4 books, cross": {
        "backbone": "simba",
        "conditioning": "cross",
        "n_codebooks": 4,
        "codebook_pattern": "delay",
    },
    "simba, 4 books of two sizes": {
        "backbone": "simba",
        "n_codebooks": 4,
        "codebook_pattern": "delay",
        "codec": lm_config("simba").codec.model_dump() | {"codes_per_book": (CODES, 40, 40, 40)},
    },
    "transformer": {"backbone": "transformer"},
    "transformer, 4 books, cross": {
        "backbone": "transformer",
        "conditioning": "cross",
        "n_codebooks": 4,
        "codebook_pattern": "delay",
    },
}
EACH = pytest.mark.parametrize("name", MODELS)


def model(name):
    return random_lm(lm_config(**MODELS[name])).cuda()


def conditions(lm, rows):
    torch.manual_seed(2)
    text = TextEmbedding(torch.randn(len(rows), 6, 384), torch.ones(len(rows), 6, dtype=bool))
    return given(lm, STEPS, null=rows, text=text, total_s=(10.0,) * len(rows)).to("cuda")


def decoded(engine, lm, seeds=(3, 4), sampling=Sampling(top_k=20, guidance=2.0)):  # noqa: B008
    """Tokens `[B, K, n]`; a graph engine captures first."""
    found = conditions(lm, (False,) * len(seeds) + (True,) * len(seeds))
    plane, state, books = engine.plane(found), engine.prefill(found, STEPS), lm.config.n_codebooks
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = draw_noise(generators, STEPS, (books, CODES))
    active = torch.ones(books, STEPS, dtype=torch.bool)
    return engine.decode_n(state, plane, noise, active, sampling)[0].cpu()


def captured(lm, dtype="float32"):
    engine = make(lm, dtype)
    engine.capture_s = 0.0  # so that every prefill captures
    return engine


@EACH
def test_logits_are_the_references(name):
    lm = model(name)
    found, tokens = conditions(lm, (False, True)), codes(2, lm.config.n_codebooks, STEPS).cuda()
    wanted, full, half = (
        one.logits(one.prefill(found, STEPS), tokens, one.plane(found)).float()
        for one in (ReferenceEngine(lm), make(lm, "float32"), make(lm, "bfloat16"))
    )
    largest = wanted[wanted != NO_CODE].abs().max()
    assert (full - wanted).abs().max() / largest < 1e-4
    assert (half - wanted).abs().max() / largest < 2e-2


@EACH
def test_a_graph_draws_the_codes_that_launched_steps_draw(name):
    lm = model(name)
    engine, plain = captured(lm), make(lm, "float32")
    plain.cannot = "not here"
    first, second = decoded(engine, lm), decoded(engine, lm)
    assert not engine.cannot and torch.equal(first, second)
    assert torch.equal(first, decoded(plain, lm))
    assert capture_problem(engine) == ""


@EACH
def test_a_graph_draws_the_references_codes(name):
    """But for a draw that is as close as rounding: of 24 steps and two requests, the first 5."""
    lm = model(name)
    found, wanted = decoded(captured(lm), lm), decoded(ReferenceEngine(lm), lm)
    assert torch.equal(found[..., :5], wanted[..., :5])


def test_our_own_kernels_are_used_here_and_draw_what_pytorch_draws():
    engine = make(model("simba"), "bfloat16")
    assert engine.kernels == "fused"
    assert wrong_draws(engine) == ""


def test_many_rows_are_computed_as_few():
    lm = model("simba")
    many = decoded(captured(lm), lm, seeds=tuple(range(3, 15)))
    few = decoded(captured(lm), lm, seeds=(3, 4))
    assert torch.equal(many[:2, :, :5], few[..., :5])


def test_a_state_that_is_used_again_begins_empty():
    lm = model("transformer")
    engine = captured(lm)
    first = decoded(engine, lm, seeds=(5,))
    decoded(engine, lm, seeds=(9,))
    assert torch.equal(decoded(engine, lm, seeds=(5,)), first)


def test_a_damaged_weight_is_an_error():
    lm = model("simba")
    engine = GraphEngine(lm)
    engine.step.weights.blocks[0].mixer.outward[3, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="damaged"):
        decoded(engine, lm)


def test_auto_takes_the_graph_on_a_gpu():
    engines = Engines(model("simba"))
    assert now([engines], EngineChoice()) == "graph"
    assert now([engines], EngineChoice("auto", "bfloat16")) == "graph"
    assert engine_of(engines.lm, "graph").name == "graph"


@pytest.mark.parametrize("name", ["simba", "transformer"])
def test_training_in_bfloat16_lowers_the_loss(name):
    lm = model(name).train().requires_grad_(True)
    tokens = codes(4, 1, STEPS).cuda()
    batch = Batch(tokens, tokens, conditions(lm, (False, False, False, True)))
    (optimiser,) = make_optimisers(lm, preset_with("tiny", learning_rate=1e-2))
    losses = []
    for _ in range(20):
        with torch.autocast("cuda", torch.bfloat16):
            loss = total_loss(lm, batch) / batch.n_targets
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_mamba_ssm_computes_what_we_do(dtype, limit):
    """Forward, final state and gradients; products in float32 without tf32."""
    pytest.importorskip("mamba_ssm")
    kernels = cuda_kernels()
    assert kernels is not None
    torch.manual_seed(0)
    shapes = ((2, 100, 4, 16), (2, 100, 4), (4,), (2, 100, 16), (2, 100, 16), (2, 4, 16, 16))
    raw = [torch.randn(shape, device="cuda") for shape in shapes]
    raw[1], raw[2] = torch.nn.functional.softplus(raw[1]), -raw[2].exp()
    found = []
    for scan in (kernels.scan, ssd):
        inputs = [t.clone().requires_grad_() for t in raw]
        used = [t.to(dtype) if i in (0, 3, 4) else t for i, t in enumerate(inputs)]
        y, final = scan(*used)
        (y.float().square().sum() + final.float().square().sum()).backward()
        found.append([y.float(), final.float(), *(t.grad for t in inputs)])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() / theirs.abs().max() < limit


def test_a_model_says_which_kernels_it_uses():
    assert kernels_of(model("transformer")) == "torch"
    assert kernels_of(model("simba")) == ("mamba-ssm" if cuda_kernels() else "torch")
