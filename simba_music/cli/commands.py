"""Root of the command line: the groups of commands, in the order of the help."""

from simba_music.cli import (
    app,
    corpus,
    evaluate,
    generate,
    hub,
    listening,
    read,
    replay,
)
from simba_music.cli.machine import bench, capacity, soak
from simba_music.cli.options import new_group
from simba_music.cli.training import others, release, train

root = new_group(
    "Text to music with SiMBA and a Transformer over EnCodec tokens, side by side.",
    'generate "calm solo piano, slow, sad" --duration 10 --seed 1',
)
root.add_typer(generate.commands)
root.add_typer(read.commands)
root.add_typer(replay.commands)
root.add_typer(app.commands)
root.add_typer(listening.commands)
root.add_typer(listening.study, name="study")
root.add_typer(hub.hub, name="hub")
root.add_typer(corpus.corpus, name="corpus")
root.add_typer(train.commands)
root.add_typer(others.commands)
root.add_typer(corpus.commands)
root.add_typer(evaluate.commands)
root.add_typer(release.commands)
root.add_typer(bench.commands)
root.add_typer(soak.commands)
root.add_typer(capacity.commands)
