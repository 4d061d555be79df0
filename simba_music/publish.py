"""Published checkpoints by the name that their model cards use."""

from simba_music.publishing.push import Checkpoint

__all__ = ["Checkpoint"]
