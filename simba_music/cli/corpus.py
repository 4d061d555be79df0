"""Commands of a corpus, from composing to tokens, and of a codec that keeps its tokens."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from simba_music.cli.options import (
    CODEC,
    CodecFolder,
    SampleRate,
    TrainingDevice,
    Workers,
    example,
    finite,
    new_group,
)
from simba_music.errors import RequestError

corpus = new_group(
    "Compose or import a corpus, render, caption and tokenise it.",
    "corpus compose --out runs/corpus --hours 10",
)

commands = new_group()

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the corpus.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the corpus, made if missing.")]
FirstHours = Annotated[
    float | None,
    typer.Option(min=0, callback=finite, help="Only the first hours, from 0; default all."),
]


@corpus.command(epilog=example("corpus compose --out runs/corpus --hours 10 --seed 1"))
def compose(
    *,
    out: Out,
    hours: Annotated[
        float, typer.Option(min=0, callback=finite, help="Hours of music, from 0.")
    ] = 10.0,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of the first piece, from 0; piece i has seed + i, so ranges that overlap share "
            "pieces.",
        ),
    ] = 1,
    accompaniment: Annotated[
        Literal["own", "mma"],
        typer.Option(help="own, or of three in four pieces that have a groove, the program mma's."),
    ] = "own",
    workers: Workers,
) -> None:
    """Write scores (MIDI) and their facts."""
    from simba_music.training.corpus.build import compose_corpus

    compose_corpus(hours, seed, out, workers, accompaniment)


@corpus.command(epilog=example("corpus render runs/corpus --sample-rate 24000"))
def render(
    folder: Folder, *, hours: FirstHours = None, sample_rate: SampleRate = "24000", workers: Workers
) -> None:
    """Render scores to audio; needs FluidSynth and two soundfonts."""
    from simba_music.training.corpus.build import render_corpus

    render_corpus(folder, workers, hours, int(sample_rate))


@corpus.command(epilog=example("corpus caption runs/corpus"))
def caption(
    folder: Folder,
    *,
    musicians: Annotated[
        bool, typer.Option("--musicians", help="Also one a crop as musicians write; default none.")
    ] = False,
) -> None:
    """Write captions from facts."""
    from simba_music.training.corpus.build import caption_corpus

    caption_corpus(folder, musicians)


@corpus.command(epilog=example("corpus tokens runs/corpus --codec checkpoints/codec"))
def tokens(
    folder: Folder,
    *,
    hours: FirstHours = None,
    codec: CodecFolder = CODEC,
    codebooks: Annotated[
        int, typer.Option(min=1, max=8, help="Books of codes that are kept, from 1 to 8.")
    ] = 1,
    device: TrainingDevice = "cpu",
    part: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Every N-th shard from the I-th on: N machines share a corpus; 1/1 is all.",
        ),
    ] = "1/1",
    workers: Workers,
) -> None:
    """Write audio as tokens and captions as text states; goes on where it stopped."""
    from simba_music.generation.loaded_models import usable_device
    from simba_music.models.text_encoder import TextEncoder
    from simba_music.training.corpus import tokens
    from simba_music.training.devices import devices_of

    own, devices = _part(part), devices_of(usable_device(device))
    tokens.encode_corpus(folder, codec, workers, hours, codebooks, devices, own)
    tokens.encode_captions(folder, TextEncoder.load(tokens.MINILM, devices[0]), 64, hours, own)


def _part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise RequestError(f"--part must be I/N with I from 1 to N, such as 1/4; got {text!r}.")
    return int(found[1]), int(found[2])


@corpus.command("import", epilog=example("corpus import music --out runs/own --captions own.csv"))
def import_(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO_DIR", help="Folder of recordings.")],
    *,
    out: Out,
    captions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table with the columns file,caption[,split,licence]; default every recording, "
            "without captions.",
        ),
    ] = None,
    layout: Annotated[
        Literal["debian", "mtg-jamendo", "musiccaps", "webdataset"] | None,
        typer.Option(
            help="AUDIO_DIR is one of these data sets, whose own files have captions and splits; "
            "default none."
        ),
    ] = None,
    sample_rate: SampleRate = "24000",
) -> None:
    """Make a corpus of your own recordings and captions."""
    from simba_music.training.corpus.own.recordings import import_recordings

    import_recordings(audio, captions, out, int(sample_rate), layout)


@corpus.command(epilog=example("corpus kits packages --out runs/beats"))
def kits(
    packages: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of Debian's packages, each unpacked.")
    ],
    *,
    out: Out,
    pieces: Annotated[int, typer.Option(min=1, help="Pieces to play, from 1.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="First seed of the composer, from 0.")] = 1,
    sample_rate: SampleRate = "24000",
) -> None:
    """Play composed drum parts with sampled kits that models may learn from, for corpus import."""
    from simba_music.training.corpus.own.kits import TABLE, write_kits

    found = write_kits(packages, out, pieces, seed, int(sample_rate))
    print(f"{found} kits; then: simba-music corpus import {out} --captions {out / TABLE} --out DIR")


@corpus.command(epilog=example("corpus scores packages --out runs/scores"))
def scores(
    packages: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of Debian's packages, each unpacked.")
    ],
    *,
    out: Out,
    tunes: Annotated[
        int, typer.Option(min=0, help="Tunes of music21, and as many chorales, from 0.")
    ] = 200,
    sample_rate: SampleRate = "24000",
) -> None:
    """Play excerpts of pieces that people wrote, for corpus import."""
    from simba_music.training.corpus.own.kits import TABLE
    from simba_music.training.corpus.own.scores import write_scores

    found = write_scores(packages, out, int(sample_rate), tunes)
    print(f"{sum(found.values())} excerpts, {found.get('test', 0)} of them tests")
    print(f"then: simba-music corpus import {out} --captions {out / TABLE} --out DIR")


@corpus.command(epilog=example("corpus inspect runs/corpus"))
def inspect(folder: Folder) -> None:
    """Write a page of counts, pictures, captions and players: DIR/inspect.html."""
    from simba_music.training.corpus.inspect import write_page

    write_page(folder)


@corpus.command(epilog=example("corpus check runs/corpus --pieces 200"))
def check(
    folder: Folder,
    *,
    pieces: Annotated[
        int, typer.Option(min=1, help="Pieces to check, spread over the corpus, from 1.")
    ] = 200,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Report; default DIR/check.json.")
    ] = None,
) -> None:
    """Compare the facts with what independent methods find in the sound and the notes."""
    from simba_music.training.corpus.check import check_corpus

    check_corpus(folder, pieces, out or folder / "check.json")


@corpus.command(epilog=example("corpus freeze runs/corpus --out tests/data/bench_v1"))
def freeze(
    folder: Folder,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the benchmark.")],
) -> None:
    """Keep 200 held-out pieces of a corpus as a benchmark."""
    from simba_music.training.corpus.bench import freeze

    freeze(folder, out)


@corpus.command(epilog=example("corpus words runs/corpus prompts.csv"))
def words(
    folder: Folder,
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS.csv", help="Captions that others wrote.")
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="What was found.")] = Path(
        "docs/prompt-words.json"
    ),
) -> None:
    """Find which frequent words of a caption list our captions can say."""
    from simba_music.training.corpus.captioning.coverage import write_coverage

    write_coverage(folder, prompts, out)


@commands.command(epilog=example("adopt runs/books --files runs/corpus/tokens.codec.json"))
def adopt(
    new: Annotated[Path, typer.Argument(metavar="DIR", help="Codec that was trained.")],
    *,
    old: Annotated[
        Path, typer.Option(metavar="DIR", help="Codec in whose place it is put.")
    ] = CODEC,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Other JSON that names the old one; may be given again; default none.",
        ),
    ] = None,
) -> None:
    """Replace a codec by one with the same tokens.

    Models, gallery and training steps beside it name the new one then.
    """
    from simba_music.training.codec.adopt import adopt_codec

    beside = [*old.parent.glob("*/config.json"), old.parent / "gallery.json"]
    beside = [path for path in (*beside, old.parent / "steps.json") if path.exists()]
    for path in adopt_codec(new, old, [*beside, *(files or [])]):
        print(f"{path} names the new codec")
