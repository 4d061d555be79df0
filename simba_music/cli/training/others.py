"""Commands beside training: average, sizes, search; each imports only what it needs."""

from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import (
    BENCH,
    CODEC,
    Bench,
    CodecFolder,
    TrainingDevice,
    TrainingThreads,
    example,
    finite,
    new_group,
)
from simba_music.cli.training.train import Codebooks, Out, Pattern, order

commands = new_group()


@commands.command(
    epilog=example("average checkpoints/simba runs/simba --corpus runs/corpus --out runs/between")
)
def average(
    start: Annotated[
        Path, typer.Argument(metavar="DIR", help="Checkpoint that the training started from.")
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Its --out.")],
    *,
    share: Annotated[
        float, typer.Option(help="Of the way from start to run, above 0 and below 1.")
    ] = 0.6,
    corpus: Annotated[Path, typer.Option(metavar="DIR", help="Corpus with held-out tokens.")],
    out: Out,
) -> None:
    """Write weights between the two ends of a training (lm)."""
    from simba_music.training.lm.average import average_training

    average_training(start, run, share, corpus, out)


@commands.command(epilog=example("grow checkpoints/simba --out runs/simba-8"))
def grow(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Checkpoint to grow.")],
    *,
    times: Annotated[int, typer.Option(min=2, help="So many times its layers, from 2.")] = 2,
    out: Out,
) -> None:
    """Write a checkpoint of twice the layers, or more, that plays the same (lm)."""
    from simba_music.training.lm.grow import grow_checkpoint

    grown = grow_checkpoint(source, out, times)
    parameters = sum(p.numel() for p in grown.parameters())
    print(f"{out}: {grown.config.n_layers} layers, {parameters:,} parameters")


@commands.command(epilog=example("sizes --preset bundle"))
def sizes(
    *,
    preset: Annotated[
        str, typer.Option(help="tiny, small, cpu, bundle-8, books-4, bundle, gpu or paper.")
    ] = "bundle",
    codebooks: Codebooks = None,
    pattern: Pattern = None,
    codec: CodecFolder = CODEC,
) -> None:
    """Print the parameters of every architecture of a preset, and the state of a 30 s clip."""
    from simba_music.training.benchmark.memory_floor import clip_state_bytes
    from simba_music.training.corpus import tokens
    from simba_music.training.lm import preset as lm_preset

    own = {"n_codebooks": codebooks, "codebook_pattern": order(pattern, codebooks)}
    ref, made = tokens.codec_ref(codec), lm_preset.preset_with(preset, **own)
    for name, architecture in lm_preset.ARCHITECTURES.items():
        config = lm_preset.make_config(architecture, made, ref)
        size = f"width {config.d_model}, {config.n_layers} layers, feed-forward {config.d_ff}"
        state = f"state {clip_state_bytes(config, config.max_trained_s) / 1e6:.1f} MB"
        print(f"{name:22} {lm_preset.count_parameters(config):>12,}  {size}, {state}")


@commands.command(epilog=example("search runs/search --corpus runs/corpus --minutes 11"))
def search(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the runs.")],
    *,
    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="One for each sample rate; default none: report what is there."
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0, callback=finite, help="Of compute, each run, from 0.")
    ] = 11.0,
    bench: Bench = BENCH,
    pieces: Annotated[
        int, typer.Option(min=1, help="Pieces of the benchmark to measure on, 1 to 200.")
    ] = 60,
    device: TrainingDevice = "cpu",
    threads: TrainingThreads,
) -> None:
    """Compare short codec trainings that differ in one factor."""
    import torch

    from simba_music.generation.loaded_models import usable_device
    from simba_music.training.codec.search import search, search_report

    device = usable_device(device)
    torch.set_num_threads(threads)
    search(corpus or [], out, minutes, device)
    search_report(out, bench, pieces)
