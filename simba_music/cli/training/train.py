"""Command of training: train; each stage imports only what it needs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from simba_music.cli.options import (
    CODEC,
    CodecFolder,
    TrainingDevice,
    TrainingThreads,
    example,
    finite,
    new_group,
)
from simba_music.errors import RequestError

commands = new_group()

Stage = Annotated[
    Literal["codec", "lm", "clap", "tagger"],
    typer.Argument(help="What to train: codec, lm (a language model), clap (the scorer), tagger."),
]
Corpus = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Corpus to train on, tokenised for lm; codec, lm: or compose:SEED or mma:SEED, made "
        "meanwhile.",
    ),
]
Also = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="codec, lm: another corpus, pooled; may be given again; default none; lm: with "
        "an endless one what holds pieces out.",
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="codec, lm: begin with the weights of this checkpoint of the same shape, lm: or of "
        "half as many layers; default random ones.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Checkpoint's folder, made if missing.")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="lm: tiny, small, cpu, bundle-8, books-4, bundle, gpu or paper, default bundle; "
        "codec: cpu, decoder, books, books-cpu or gpu; clap, tagger: cpu or gpu; default cpu."
    ),
]
StopAfter = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="STEPS", help="codec, lm: a dry run of so many steps; default the preset's."
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(min=0, callback=finite, help="codec: time budget, from 0; default the preset's."),
]
Workers = Annotated[int, typer.Option(min=1, help="codec, lm: processes for compose:SEED.")]
Crops = Annotated[int | None, typer.Option(min=1, help="codec: crops a step; default: preset.")]
Backbone = Annotated[
    Literal["simba", "mamba", "transformer"], typer.Option(help="lm: what mixes positions.")
]
Mixer = Annotated[Literal["mlp", "einfft"], typer.Option(help="lm: what mixes channels of simba.")]
Conditioning = Annotated[
    Literal["prefix", "cross"], typer.Option(help="lm: text before the tokens, or cross-attention.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="lm: steps, from 1; default the preset's.")]
Seed = Annotated[
    int | None,
    typer.Option(min=0, help="lm: seed of weights and batches, from 0; default the preset's."),
]
Accumulate = Annotated[
    int | None, typer.Option(min=1, help="lm: parts of a step, from 1; default the preset's.")
]
TokensPerBatch = Annotated[
    int | None, typer.Option(min=1, help="lm: tokens a step, from 1; default the preset's.")
]
Codebooks = Annotated[
    int | None,
    typer.Option(min=1, max=8, help="lm: books of codes, from 1 to 8; default the preset's."),
]
Pattern = Annotated[
    Literal["single", "delay", "flat"] | None,
    typer.Option(help="lm: order of the books' codes; default delay for several books."),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        min=0, callback=finite, help="lm: highest learning rate, above 0; default the preset's."
    ),
]


@commands.command(epilog=example("train lm --corpus runs/corpus --out runs/simba --preset cpu"))
def train(
    stage: Stage,
    *,
    corpus: Corpus,
    also: Also = None,
    workers: Workers = 1,
    start: Start = None,
    out: Out,
    preset: Preset = None,
    stop_after: StopAfter = None,
    minutes: Minutes = None,
    crops: Crops = None,
    backbone: Backbone = "simba",
    mixer: Mixer = "mlp",
    conditioning: Conditioning = "prefix",
    steps: Steps = None,
    seed: Seed = None,
    accumulate: Accumulate = None,
    tokens_per_batch: TokensPerBatch = None,
    codebooks: Codebooks = None,
    pattern: Pattern = None,
    learning_rate: LearningRate = None,
    codec: CodecFolder = CODEC,
    device: TrainingDevice = "cpu",
    threads: TrainingThreads,
) -> None:
    """Train a codec, language model, scorer or tagger.

    What was cut goes on where it stopped.
    """
    import torch

    from simba_music.generation.loaded_models import usable_device

    device = usable_device(device)
    torch.set_num_threads(threads)
    named = preset or ("bundle" if stage == "lm" else "cpu")
    corpora = [corpus, *(also or [])]
    if stage == "codec":
        own = {"minutes": minutes, "batch": crops}
        _train_codec(corpora, out, named, own, stop_after, device, start, workers)
    elif stage == "lm":
        changes = {
            "steps": steps,
            "seed": seed,
            "learning_rate": learning_rate,
            "accumulate": accumulate,
            "tokens_per_batch": tokens_per_batch,
            "n_codebooks": codebooks,
            "codebook_pattern": order(pattern, codebooks),
        }
        inside = {"simba": mixer, "mamba": "none", "transformer": "mlp"}[backbone]
        architecture = (backbone, inside, conditioning)
        runs = (device, stop_after, start, workers)
        _train_lm(corpora, out, architecture, named, changes, codec, *runs)
    else:
        _train_judge(stage, corpus, out, named, codec, device)


def order(pattern: str | None, codebooks: int | None) -> str | None:
    """The pattern that was asked for, or that so many books have; None is the preset's."""
    if pattern or codebooks is None:
        return pattern
    return "delay" if codebooks > 1 else "single"


def _train_codec(
    corpora: list[Path],
    out: Path,
    preset: str,
    changes: dict[str, Any],
    stop_after: int | None,
    device: str,
    start: Path | None,
    workers: int,
) -> None:
    from simba_music.training.codec.preset import PRESETS, preset_with
    from simba_music.training.codec.trainer import train_codec

    _known(preset, PRESETS)
    made = preset_with(preset, **changes)
    out.mkdir(parents=True, exist_ok=True)
    train_codec(corpora, out, made, out / "resume.state", stop_after, device, start, workers)


def _train_lm(
    corpora: list[Path],
    out: Path,
    architecture: tuple[Any, Any, Any],
    preset: str,
    changes: dict[str, Any],
    codec: Path,
    device: str,
    stop_after: int | None,
    start: Path | None,
    workers: int,
) -> None:
    from simba_music.training.corpus.tokens import codebooks_of, codec_ref
    from simba_music.training.lm.endless import Encoding
    from simba_music.training.lm.preset import Architecture, preset_with
    from simba_music.training.lm.trainer import train_lm

    made = preset_with(preset, **changes)
    train_lm(
        corpora[0],
        out,
        Architecture(*architecture),
        made,
        codec_ref(codec),
        codebooks_of(codec, made.n_codebooks),
        device,
        stop_after,
        start,
        corpora[1:],
        Encoding(codec, made.n_codebooks, workers, device, out.parent / "endless-codes"),
    )


def _train_judge(
    stage: str, corpus: Path, out: Path, preset: str, codec: Path, device: str
) -> None:
    if stage == "tagger":
        from simba_music.training.judges import tagger

        tagger.train_tagger(corpus, out, _known(preset, tagger.PRESETS))
        return
    from simba_music.models.codec import Codec
    from simba_music.training.corpus.tokens import codec_ref
    from simba_music.training.judges import scorer

    made = _known(preset, scorer.PRESETS)
    scorer.train_clap(corpus, out, Codec.load(codec, codec_ref(codec)), made, device)


def _known(name: str, presets: dict[str, Any]) -> Any:
    if name not in presets:
        raise RequestError(f"No preset {name!r}; there are {', '.join(presets)}.")
    return presets[name]
