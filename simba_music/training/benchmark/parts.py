"""Parts: seconds of codec, scorer, loudness and text encoder for one clip."""

import time
from collections.abc import Callable

import torch

from simba_music import audio
from simba_music.generation.decoding import BLOCK
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.streaming.sound import SoundStream
from simba_music.training.benchmark.machine import pinned
from simba_music.training.benchmark.rows import Book, PartRow, Spread
from simba_music.training.benchmark.systems import PROMPT


def parts_of(pipeline: Pipeline, audio_s: float) -> dict[str, Callable[[], object]]:
    """Every part by name, as a call with nothing; the codec gets random codes `[1, 1, S]`."""
    model = pipeline.models["left"]
    codec, frames = model.codec, round(audio_s * model.codec.frame_rate)
    random = torch.Generator().manual_seed(1)
    codes = torch.randint(codec.ref.codebook_size, (1, 1, frames), generator=random)
    wave = codec.decode(codes)[0]

    def streamed() -> None:
        state = codec.decode_init(1)
        for start in range(0, frames, BLOCK):
            _, state = codec.decode_step(codes[..., start : start + BLOCK], state)
        codec.decode_flush(state)

    def played() -> None:
        stream = SoundStream(codec, "left", 0, 1)
        for start in range(0, frames, BLOCK):
            list(stream.add(codes[..., start : start + BLOCK]))
        list(stream.end())

    @torch.no_grad()
    def theirs() -> None:
        codec.model.decode(codes[None], [None])

    found: dict[str, Callable[[], object]] = {
        "codec, whole": lambda: codec.decode(codes),
        f"codec, in chunks of {BLOCK} frames": streamed,
        "codec, streamed as a clip is": played,
        "codec, transformers' EncodecModel.decode": theirs,
        "loudness and limiter": lambda: audio.normalise(wave),
        "text encoder, prompt and unconditional": lambda: model.encoder.encode([PROMPT, PROMPT]),
    }
    scorer = pipeline.scorer
    if scorer is not None:
        found["scorer"] = lambda: scorer.score(wave, PROMPT)
    return found


def measure_parts(pipeline: Pipeline, audio_s: float, repeats: int, book: Book) -> None:
    """Measure all parts by turns, CPU seconds on one core."""
    with pinned():
        calls = parts_of(pipeline, audio_s)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for repeat in range(repeats + 1):
            for name, call in calls.items():
                started = time.process_time()
                call()
                if repeat:  # the first warms up
                    seconds[name].append(time.process_time() - started)
                    spread = Spread.of(seconds[name])
                    book.put(PartRow(part=name, audio_s=audio_s, seconds=spread))
    book.done(f"parts of a clip of {audio_s:g} s")
