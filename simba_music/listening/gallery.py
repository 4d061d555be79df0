"""Gallery: pairs for the blind test that were written before, kept as codes, decoded at start."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simba_music import audio
from simba_music.errors import CheckpointError
from simba_music.files import read_json, write_json
from simba_music.generation.clip import Clip, pack_codes, unpack_codes
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.service import GenerationService, generate_pairs
from simba_music.hub.places import BUNDLED
from simba_music.listening.pairs import Side
from simba_music.listening.trials import ListeningTest
from simba_music.models.codec import Codec

logger = logging.getLogger(__name__)

GALLERY = BUNDLED / "gallery.json"
# The pair that the Create tab plays with its names, which no blind test may show; chosen as it is
# short to read and both clips match: no sample of quality.
EXAMPLE = 11
SCHEMA = 2


def about(clip: Clip) -> dict[str, Any]:
    """What is kept of one clip of a pair, and shown after the vote."""
    recipe = clip.recipe
    return {
        "checkpoint": clip.name,
        "model": recipe.model.model_dump(),
        "codec": recipe.codec.model_dump(),
        "seconds": round(clip.seconds, 3),
        "codes": clip.codes.numel(),
        "gain_db": recipe.gain_db,
        "loudness_lufs": recipe.loudness_lufs,
        "scorer": recipe.scorer.as_dict() if recipe.scorer else None,
        "score": clip.score.cosine if clip.score else None,
        "device": recipe.device,
        "subseed": recipe.request.subseed,
    }


def sampling_of(clip: Clip) -> dict[str, Any]:
    """The settings that both clips of a pair share."""
    left_out = ("prompt", "seed", "takes", "duration_s", "grown_s", "subseed")
    return {k: v for k, v in clip.recipe.request.as_dict().items() if k not in left_out}


def write_gallery(
    service: GenerationService, prompts: Sequence[str], duration_s: float, path: Path
) -> None:
    """Generate with both models, with seed i for prompt i, and keep the codes."""
    requests = [
        service.validate(prompt=text, seed=i, duration_s=duration_s)
        for i, text in enumerate(prompts)
    ]
    items = []
    for request, pair in zip(requests, generate_pairs(service, requests), strict=True):
        sides = {
            side: about(clip)
            | {"codes_b64": pack_codes(clip.codes), "n_codebooks": len(clip.codes)}
            for side, clip in pair.items()
        }
        items.append(
            {
                "prompt": request.prompt,
                "seed": request.seed,
                "duration_s": duration_s,
                "sampling": sampling_of(pair["left"]),
                "sides": sides,
            }
        )
    write_json(path, {"schema": SCHEMA, "items": items})


def codecs_of(pipeline: Pipeline) -> dict[str | None, Codec]:
    """The codecs that are loaded, by their weights' sha256."""
    return {side.lm.config.codec.sha256: side.codec for side in pipeline.models.values()}


def decoded(side: dict[str, Any], codecs: dict[str | None, Codec], duration_s: float) -> Side:
    """A side's sound again, from its codes.

    Raises:
        CheckpointError: If none of the loaded codecs is the one that the codes belong to.
    """
    codec = codecs.get(side["codec"]["sha256"])
    if codec is None:
        raise CheckpointError("its codes belong to a codec that is not loaded")
    books = side.get("n_codebooks", 1)  # schema 1 had one book, as `ids`
    codes = unpack_codes(side["codes_b64"] if "codes_b64" in side else side["ids"], books)
    wave = codec.decode(codes[None])[0]
    packed = ("ids", "codes_b64", "n_codebooks")
    known = {key: value for key, value in side.items() if key not in packed}
    return Side(audio.fit(wave, duration_s), known)


def open_gallery(test: ListeningTest, pipeline: Pipeline, path: Path = GALLERY) -> None:
    """Offer the gallery's pairs; those that the database does not hold yet are decoded first.

    Each pair is on offer as soon as it is decoded; `test.preparing` is true until all are. A
    gallery of other models than the loaded ones is left out, with a line in the log.
    """
    test.preparing = True
    try:
        _offer(test, pipeline, path)
    except CheckpointError as error:
        logger.warning("the gallery is left out: %s", error)
        test.gallery = None
    finally:
        test.preparing = False


def _offer(test: ListeningTest, pipeline: Pipeline, path: Path) -> None:
    if not path.exists():
        return
    name = "gallery " + hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    found = read_json(path)["items"]
    held = {battle.id for battle in test.database.battles("gallery", name)}
    codecs = codecs_of(pipeline)
    for i, item in enumerate(found):
        if i == EXAMPLE:
            continue
        # By content, so that every process adds the same battle and only one is kept.
        battle = hashlib.sha256(f"{name}:{i}".encode()).hexdigest()[:32]
        if battle not in held:
            sides = {
                side: decoded(item["sides"][side], codecs, item["duration_s"]) for side in SIDES
            }
            test.add_battle(
                item["prompt"],
                sides,
                "gallery",
                item["seed"],
                item["sampling"],
                gallery=name,
                key=battle,
            )
        test.gallery = name
