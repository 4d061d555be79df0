"""The codec as stock EnCodec: Meta's two configurations, streaming, strict loading."""

import json
import math
import re
import subprocess
import sys

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.errors import CheckpointError
from simba_music.files import sha256
from simba_music.hub.places import BUNDLED
from simba_music.models.codec import Codec
from simba_music.models.config import CodecRef
from simba_music.training.corpus.tokens import codec_ref

# What facebook/encodec_24khz and facebook/encodec_32khz say of themselves, for the fields that
# differ from the class' defaults.
META_24 = {"sampling_rate": 24_000, "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0]}
META_32 = {
    "sampling_rate": 32_000,
    "target_bandwidths": [2.2],
    "upsampling_ratios": [8, 5, 4, 4],
    "codebook_size": 2048,
    "num_filters": 64,
    "use_causal_conv": False,
    "normalize": False,
}


def ref_of(config, sha=None):
    return CodecRef(
        id="./codec",
        sha256=sha,
        sample_rate=config.sampling_rate,
        frame_rate=math.ceil(config.sampling_rate / math.prod(config.upsampling_ratios)),
        codebook_size=config.codebook_size,
    )


def random_codec(**changes):
    torch.manual_seed(0)
    config = EncodecConfig(**changes)
    model = EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return Codec(model, ref_of(config))


@pytest.mark.parametrize(
    ("fields", "books", "frame_rate", "codes"), [(META_24, 2, 75, 1024), (META_32, 4, 50, 2048)]
)
def test_metas_codecs_load_and_play_their_first_codebook(
    tmp_path, fields, books, frame_rate, codes
):
    torch.manual_seed(0)
    EncodecModel(EncodecConfig(**fields)).save_pretrained(tmp_path)
    config = EncodecConfig.from_pretrained(tmp_path)
    codec = Codec.load(tmp_path, ref_of(config, sha256(tmp_path / "model.safetensors")))
    assert (codec.frame_rate, codec.ref.codebook_size) == (frame_rate, codes)
    wave = Waveform(0.1 * torch.randn(2, 44_100), 44_100)
    tokens = codec.encode(wave)
    assert tokens.shape == (1, 1, frame_rate) and tokens.max() < codes
    mono = audio.resample(Waveform(wave.samples.mean(0, keepdim=True), 44_100), codec.sample_rate)
    with torch.no_grad():
        full = codec.model.encode(mono.samples[None], bandwidth=fields["target_bandwidths"][0])
        alone = codec.model.quantizer.layers[0].decode(tokens[:, 0])
        sound = codec.model.decoder(alone)
    assert full.audio_codes.shape[2] == books
    assert torch.equal(full.audio_codes[0, :, :1], tokens)
    torch.testing.assert_close(codec.decode(tokens)[0].samples, sound[0])


@pytest.mark.parametrize(
    "fields",
    [
        {"use_causal_conv": False, "pad_mode": "constant", "upsampling_ratios": [8, 5, 4, 3]},
        {"use_causal_conv": False, "num_residual_layers": 2, "dilation_growth_rate": 2},
        {"use_causal_conv": True},
        {
            "use_causal_conv": False,
            "pad_mode": "constant",
            "num_residual_layers": 3,
            "dilation_growth_rate": 3,
            "use_conv_shortcut": False,
        },
    ],
)
@pytest.mark.parametrize("chunks", [[40, 40, 33], [1] * 20 + [60], [7, 10, 10, 10, 50], [113]])
def test_a_stream_is_the_whole(fields, chunks):
    codec = random_codec(num_filters=4, hidden_size=16, codebook_dim=16, **fields)
    tokens = torch.randint(0, 1024, (2, 1, sum(chunks)))
    state, parts = codec.decode_init(2), []
    for chunk in torch.split(tokens, chunks, dim=-1):
        waves, state = codec.decode_step(chunk, state)
        parts.append(waves)
    parts.append(codec.decode_flush(state))
    for i, whole in enumerate(codec.decode(tokens)):
        streamed = torch.cat([waves[i].samples for waves in parts], dim=-1)
        torch.testing.assert_close(streamed, whole.samples, atol=1e-5, rtol=1e-4)


def test_the_bundled_codec_streams_its_first_sound_within_a_second():
    folder = BUNDLED / "codec"
    codec = Codec.load(folder, codec_ref(folder))
    second = codec.ref.frame_rate
    tokens = torch.randint(0, codec.ref.codebook_size, (1, 1, 3 * second))
    waves, state = codec.decode_step(tokens[..., :second], codec.decode_init(1))
    assert 0.5 <= waves[0].duration_s <= 1.0
    more, state = codec.decode_step(tokens[..., second:], state)
    streamed = [w.samples for w in (*waves, *more, *codec.decode_flush(state))]
    whole = codec.decode(tokens)[0]
    ours, _, _ = audio.normalise(Waveform(torch.cat(streamed, dim=-1), codec.sample_rate))
    theirs, _, _ = audio.normalise(whole)
    assert float((ours.samples - theirs.samples).abs().max()) < 1e-3


def test_an_empty_stream_is_silent():
    codec = random_codec(num_filters=4, hidden_size=16, codebook_dim=16)
    assert codec.decode_flush(codec.decode_init(3))[0].samples.shape == (1, 0)


def test_wrong_tokens_are_refused():
    codec = random_codec(num_filters=4, hidden_size=16, codebook_dim=16)
    for tokens in (torch.zeros(1, 99, 5), torch.zeros(1, 5), torch.full((1, 1, 5), 1024)):
        for decode in (codec.decode, lambda t: codec.decode_step(t, codec.decode_init(1))):
            with pytest.raises(ValueError, match="Codes must be"):
                decode(tokens.long())
    with pytest.raises(ValueError, match="2 codebooks, and the stream began with 1"):
        codec.decode_step(torch.zeros(1, 2, 5, dtype=torch.long), codec.decode_init(1))
    with pytest.raises(ValueError, match="no frames"):
        codec.decode(torch.zeros(1, 1, 0, dtype=torch.long))


@pytest.mark.fault("W2", "one flipped byte of a codec with a digest")
@pytest.mark.fault("W1", "truncated weights of a codec")
def test_altered_and_truncated_weights_are_refused(tmp_path):
    config = EncodecConfig(num_filters=4, hidden_size=16, codebook_dim=16)
    EncodecModel(config).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    ref, good = ref_of(config, sha256(weights)), weights.read_bytes()
    Codec.load(tmp_path, ref)
    for bad in (good[:-100], good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]):
        weights.write_bytes(bad)
        with pytest.raises(CheckpointError, match="sha256|damaged"):
            Codec.load(tmp_path, ref)


def meta_name(name):
    """The name in Meta's `encodec` of a parameter of `transformers.EncodecModel`."""
    name = re.sub(r"^(encoder|decoder)\.layers", r"\1.model", name)
    name = name.replace("parametrizations.weight.original0", "weight_g")
    name = name.replace("parametrizations.weight.original1", "weight_v")
    name = re.sub(r"^quantizer\.layers\.(\d+)\.codebook", r"quantizer.vq.layers.\1._codebook", name)
    return re.sub(r"\.conv\.(?=weight|bias)", ".conv.conv.", name)


@pytest.mark.gpu
def test_our_decode_is_that_of_metas_own_package():
    """Needs the package `encodec`, which imports only beside CUDA torch."""
    encodec = pytest.importorskip("encodec")
    codec = random_codec(**META_24)
    meta = encodec.EncodecModel.encodec_model_24khz(pretrained=False).eval()
    wanted = meta.state_dict()
    found = {meta_name(k): v for k, v in codec.model.state_dict().items()}
    found |= {
        k.replace(".conv.conv.", ".convtr.convtr."): v
        for k, v in found.items()
        if k.replace(".conv.conv.", ".convtr.convtr.") in wanted
    }
    meta.load_state_dict({k: found[k] for k in wanted}, strict=True)
    tokens = torch.randint(0, 1024, (1, 1, 150))
    with torch.no_grad():
        theirs = meta.decode([(tokens, None)])
    ours = codec.decode(tokens)[0].samples[None]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_a_fresh_process_gives_the_same_tokens():
    wave = 0.1 * torch.sin(torch.arange(48_000) * 0.05)
    folder = BUNDLED / "codec"
    code = (
        "import sys, torch; from pathlib import Path; from simba_music.audio import Waveform\n"
        "from simba_music.models.codec import Codec\n"
        "from simba_music.training.corpus.tokens import codec_ref\n"
        "folder = Path(sys.argv[1]); codec = Codec.load(folder, codec_ref(folder))\n"
        "wave = 0.1 * torch.sin(torch.arange(48_000) * 0.05)\n"
        "print(codec.encode(Waveform(wave[None], 24_000)).flatten().tolist())"
    )
    command = [sys.executable, "-c", code, str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours = Codec.load(folder, codec_ref(folder)).encode(Waveform(wave[None], 24_000))
    # The last line: a library that the training imports may print where it was found.
    assert json.loads(said.splitlines()[-1]) == ours.flatten().tolist()
