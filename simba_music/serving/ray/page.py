"""Page: the app's page as an ingress of one replica; its runs are made by those of the models."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI
from ray import serve

from simba_music.errors.logs import configure
from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.loaded_models import LoadedModel
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.scoring.score import Scorer
from simba_music.serving.host import around, parts_of
from simba_music.serving.ray.judge import RemoteScorer
from simba_music.serving.ray.plan import Plan
from simba_music.serving.ray.service import Replicas
from simba_music.settings import data_folder, settings
from simba_music.settings.process import announce_host
from simba_music.ui import app as page_app
from simba_music.ui.opening import Opening, sides_of


def described(
    left: str, right: str, choice: EngineChoice, scorer: Scorer | None = None
) -> Pipeline:
    """A pipeline that only says what its models allow and are called; no engine is made for it."""
    first = second = LoadedModel.load(left, "cpu")
    if right != left:
        second = LoadedModel.load(right, "cpu", encoders=[first.encoder])
    return Pipeline(dict(zip(SIDES, (first, second), strict=True)), scorer, choice=choice)


class Page:
    """The page and its votes: what is typed is checked here, and made elsewhere."""

    def __init__(self, plan: Plan, host: str, models: Any, scoring: Any = None):
        configure(settings().log, settings().log_prompts, data_folder())
        announce_host(host)
        self.plan, self._models, self._scoring = plan, models, scoring
        # Ray begins it inside an event loop, where nobody may wait for another replica.
        with ThreadPoolExecutor(1) as thread:
            self.opening = thread.submit(self._open).result()

    def _open(self) -> Opening:
        pipeline, plan = self._describe(), self.plan
        self._sides = sides_of(pipeline)
        opening = Opening(
            self._sides,
            place=lambda _: Replicas(self._models, plan.choice.name),
            at_once=plan.capacity + plan.waiting,
        )
        opening.begin(opening.fill(lambda: pipeline))
        return opening

    def _describe(self) -> Pipeline:
        judge = None if self._scoring is None else RemoteScorer(self._scoring)
        return described(self.plan.left, self.plan.right, self.plan.choice, judge)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """What is served at the address, made by Ray once the page is there."""
        return page_app.mount(
            FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
            self.opening,
            lambda page: around(page, parts_of(self.opening)),
        )

    async def serves(self, plan: Plan) -> bool:
        """Whether this page is one for a plan: checkpoints of the same names, as many runs."""
        return _shown(self.plan) == _shown(plan)

    async def close(self) -> None:
        """End the runs and copy what votes wait for it; the end is near."""
        await asyncio.to_thread(self.opening.close)

    async def read_again(self) -> tuple[str, ...]:
        """Read the checkpoints again, which others of the same name have taken the place of.

        Runs in progress keep what they have. Returns the digests of both models.
        """
        pipeline = await asyncio.to_thread(self._describe)
        self._sides.update(sides_of(pipeline))
        self.opening.comparison.result().pipeline = pipeline
        self.opening.maker.result().use(pipeline, Replicas(self._models, self.plan.choice.name))
        return tuple(model.origin.sha256 for model in pipeline.models.values())

    async def __del__(self) -> None:
        """As `close`; Ray calls it."""
        await self.close()


def _shown(plan: Plan) -> tuple[object, ...]:
    """What of a plan the page is built with."""
    return plan.left, plan.right, plan.scorer, plan.choice, plan.capacity, plan.waiting


Ingress = serve.ingress()(Page)
