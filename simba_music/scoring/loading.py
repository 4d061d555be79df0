"""Scorers: the bundled one or a ClapModel, by what the checkpoint's config.json says it is."""

from collections.abc import Sequence

from simba_music.files import read_json
from simba_music.hub.fetch import ENCODER_FILES, OnDownload, ignore
from simba_music.hub.places import CONFIG, is_repository, locate, tidy
from simba_music.models.text_encoder import TextEncoder
from simba_music.scoring.bundled import BundledScorer
from simba_music.scoring.clap import ClapScorer
from simba_music.scoring.score import Scorer


def load_scorer(
    source: str, on_download: OnDownload = ignore, encoders: Sequence[TextEncoder] = ()
) -> Scorer:
    """Load a scorer: a folder, a bundled name, or a Hub repository `org/name@revision`.

    The bundled one shares the text encoder it needs with a model, if it is among `encoders`.

    Raises:
        CheckpointError: If it is missing, damaged, not a scorer, or collapsed.
    """
    source = tidy(source)
    place = locate(source, on_download, ENCODER_FILES)
    config = read_json(place.folder / CONFIG)
    if isinstance(config, dict) and config.get("model_type") == "clap":
        name = source.partition("@")[0] if is_repository(source) else place.folder.name
        return ClapScorer.load(place.folder, name, place.revision)
    return BundledScorer.load(place.folder, encoders)
