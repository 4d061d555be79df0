import math

import pytest

from simba_music.errors import RequestError
from simba_music.generation.loaded_models import Reader
from simba_music.generation.request import Limits, validate_request

LIMITS = Limits(30.0, 256, lambda text: len(text.split()) + 2)


def check(**changes):
    return validate_request(LIMITS, **({"prompt": "calm piano"} | changes))


def test_a_good_request_comes_back_with_its_types():
    request = check(duration_s=10, seed=2**32 - 1, top_k=0, guidance=1, prompt="  calm piano ")
    assert request.prompt == "calm piano"
    assert isinstance(request.duration_s, float) and request.seed == 2**32 - 1


@pytest.mark.fault("P6", "every number out of its range, NaN and infinity")
@pytest.mark.fault("P1", "empty and blank prompts")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \n\t"}, "prompt is empty"),
        ({"prompt": None}, "must be text"),
        ({"prompt": "word " * 255}, "257 text tokens; at most 256"),
        ({"negative": "word " * 255}, "negative has 257 text tokens"),
        ({"duration_s": 1.5}, "from 2 to 30, got 1.5"),
        ({"duration_s": 30.5}, "from 2 to 30, got 30.5"),
        ({"duration_s": 10.2}, "multiple of 0.5"),
        ({"duration_s": math.nan}, "duration_s must be a number.*got nan"),
        ({"duration_s": "10"}, "got '10'"),
        ({"duration_s": True}, "got True"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "got 4294967296"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": None}, "got None"),
        ({"temperature": math.inf}, "temperature.*got inf"),
        ({"temperature": 2.1}, "from 0 to 2"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"top_p": math.nan}, "top_p.*got nan"),
        ({"guidance": 0.5}, "guidance.*from 1 to 10"),
        ({"draw": 1}, "draw must be true or false, got 1"),
        ({"takes": 0}, "takes.*from 1 to 4"),
        ({"tempo": 3}, "Unknown setting 'tempo'"),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(changes, said):
    with pytest.raises(RequestError, match=said):
        check(**changes)


def test_frames_cover_half_seconds_at_every_frame_rate():
    from simba_music.models.config import CodecRef

    def frames(rate, duration_s):
        ref = CodecRef(id="x", sample_rate=24000, frame_rate=rate, codebook_size=64)
        return ref.frames(duration_s)

    assert [frames(75, s) for s in (2.0, 2.5, 30.0)] == [150, 188, 2250]
    assert [frames(50, s) for s in (2.5, 0.1 + 0.2)] == [125, 15]


@pytest.mark.fault("P2", "20 million characters")
@pytest.mark.fault("R1", "a prompt of 20 MB is refused by its characters, before its tokens")
@pytest.mark.parametrize("field", ["prompt", "negative"])
def test_a_long_text_is_refused_before_its_tokens_are_counted(field):
    def never(text):
        raise AssertionError("tokens were counted")

    limits = Limits(30.0, 256, lambda text: 3 if text in ("calm piano", "") else never(text))
    with pytest.raises(RequestError, match=f"{field} has 20000000 characters; at most 5000"):
        validate_request(limits, **({"prompt": "calm piano"} | {field: "a" * 20_000_000}))


@pytest.mark.fault("R1", "the API's read refuses a long prompt too")
def test_a_long_text_is_not_read_either():
    reader = Reader([], lambda word: True)
    with pytest.raises(RequestError, match="prompt has 1000000 characters"):
        reader.read("a" * 1_000_000)
