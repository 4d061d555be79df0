"""Opening: what the page says of its models while they load, and how its parts wait for them."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simba_music.errors import RequestError, UserError
from simba_music.files import load_secret, read_json, sha256
from simba_music.generation.request import SIDES
from simba_music.generation.stops import Stops
from simba_music.generation.streaming.activity import Activity
from simba_music.hub.places import CONFIG, WEIGHTS, folder_of, short_name
from simba_music.settings import data_folder, settings

if TYPE_CHECKING:  # the page is laid out before torch and the database are imported
    from simba_music.generation.comparison import Comparison
    from simba_music.generation.loaded_models import Reader
    from simba_music.generation.pipeline import Pipeline
    from simba_music.generation.service import Place
    from simba_music.listening.trials import ListeningTest
    from simba_music.listening.typed_pairs import PairMaker
    from simba_music.ui.create.example import Example

logger = logging.getLogger(__name__)

BACKBONES = {"simba": "SiMBA", "mamba": "Mamba", "transformer": "Transformer"}
AT_ONCE = 2  # runs at a time on one machine
WAIT_S = 0.5  # between two looks at whether whoever waits has stopped, or gone


@dataclass(frozen=True)
class Side:
    """A checkpoint as its config.json describes it; longest_s in s, sample_rate in Hz."""

    source: str
    backbone: str
    longest_s: float
    sample_rate: int
    sha256: str

    @property
    def name(self) -> str:
        """Short name, for labels."""
        return short_name(self.source)


def _example(pipeline: "Pipeline") -> "Example | None":
    """The pair that is ready to play; a page without one is a page still."""
    from simba_music.ui.create.example import open_example

    try:
        return open_example(pipeline, data_folder() / "example")
    except OSError as error:
        logger.warning("there is no example to play: %s", error)
        return None


def read_side(source: str) -> Side | None:
    """What a checkpoint on this machine says of itself, unchecked.

    None if it is not on this machine, or does not say it in the present form.
    """
    folder = folder_of(source)
    if folder is None:
        return None
    try:
        config = read_json(folder / CONFIG)
        longest_s, rate = float(config["max_trained_s"]), int(config["codec"]["sample_rate"])
        digest = sha256(folder / WEIGHTS)
        known = config["backbone"] in BACKBONES
    except (KeyError, TypeError, ValueError, OSError, UserError):
        return None
    return Side(source, config["backbone"], longest_s, rate, digest) if known else None


def sides_of(pipeline: "Pipeline") -> dict[str, Side]:
    """What is known of models that are loaded."""
    found = {}
    for side, model in pipeline.models.items():
        config, origin = model.lm.config, model.origin
        rate = model.codec.sample_rate
        found[side] = Side(origin.id, config.backbone, config.max_trained_s, rate, origin.sha256)
    return found


def sides_before_loading(left: str, right: str, scorer: str) -> dict[str, Side] | None:
    """What a page may show before its models are loaded; None where they must be loaded first.

    That is where one must be fetched, or does not look right, so that nobody sees a page that
    cannot work; and on a Space, whose GPU process sees what was loaded when the page began.
    """
    found = {side: read_side(source) for side, source in zip(SIDES, (left, right), strict=True)}
    sides = {name: side for name, side in found.items() if side is not None}
    scored = scorer == "none" or folder_of(scorer) is not None
    ready = len(sides) == len(SIDES) and scored and settings().space_id is None
    return sides if ready else None


def known(future: "Future[ListeningTest]") -> "ListeningTest | None":
    """What a future has, None while it has nothing, or has failed."""
    return future.result() if future.done() and future.exception() is None else None


def open_test() -> "ListeningTest":
    """The blind test of this machine: its database, its clips, its key, its mirror."""
    from simba_music.listening.clip_store import open_clips
    from simba_music.listening.database import Database, default_url
    from simba_music.listening.mirror import open_mirror
    from simba_music.listening.trials import ListeningTest

    data = data_folder()
    data.mkdir(parents=True, exist_ok=True)
    database = Database(default_url(data))
    test = ListeningTest(database, open_clips(data), load_secret(data))
    test.mirror = open_mirror(database, data)
    return test


@dataclass(frozen=True)
class Opening:
    """A page's models and what works with them, each there as soon as it can be used.

    `at_once` runs are made at a time, of the page and its API together.
    """

    sides: Mapping[str, Side]
    stops: Stops = field(default_factory=Stops)
    activity: Activity = field(default_factory=Activity)
    comparison: "Future[Comparison]" = field(default_factory=Future)
    maker: "Future[PairMaker]" = field(default_factory=Future)
    test: "Future[ListeningTest]" = field(default_factory=Future)
    example: "Future[Example | None]" = field(default_factory=Future)
    place: "Callable[[Pipeline], Place] | None" = None  # where runs are made; None: here
    at_once: int = AT_ONCE

    def fill(self, load: "Callable[[], Pipeline]") -> "Pipeline":
        """Open the blind test and load the models; what fails reaches whoever waits for them too.

        Raises:
            UserError: As `load`.
        """
        try:
            test = open_test()
            test.preparing = True  # until `begin` has opened the gallery
            self.test.set_result(test)
            pipeline = load()
            from simba_music.generation.comparison import Comparison
            from simba_music.listening.typed_pairs import PairMaker

            place = self.place(pipeline) if self.place else None
            self.comparison.set_result(Comparison(pipeline, self.stops, self.activity, place))
            self.maker.set_result(PairMaker(pipeline, self.test.result(), self.activity, place))
            self.example.set_result(_example(pipeline))
        except BaseException as error:
            for part in (self.test, self.comparison, self.maker, self.example):
                if not part.done():
                    part.set_exception(error)
            raise
        logger.info("The models are ready")
        return pipeline

    def reader(self) -> "Reader":
        """What reads prompts as the models of the page do, once they are there."""
        from simba_music.generation.loaded_models import Reader

        return Reader.of_models(list(self.comparison.result().pipeline.models.values()))

    def close(self) -> None:
        """Cancel the runs, and copy the votes that wait for the Hub; for the process's end."""
        self.stops.request_all()
        test = known(self.test)
        if test is not None and test.mirror is not None:
            test.mirror.close()

    def begin(self, pipeline: "Pipeline") -> None:
        """Do ahead what the first clip would wait for, and decode the gallery's pairs."""
        from simba_music.listening.gallery import open_gallery

        pipeline.warm_up(generate=self.comparison.result().place.here)
        # Nothing needs to wait for the gallery to be decoded, the first time.
        threading.Thread(
            target=open_gallery, args=(self.test.result(), pipeline), daemon=True
        ).start()

    def waiting(self, session: str) -> Iterator[None]:
        """Steps of waiting for the models.

        Raises:
            RequestError: If the session stops meanwhile.
        """
        self.stops.clear(session)
        while not self.comparison.done():
            if self.stops.wanted(session):
                raise RequestError("Stopped before the models were loaded.")
            yield
            wait([self.comparison], timeout=WAIT_S)
