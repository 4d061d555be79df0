"""Config: the applications as builders, for Ray Serve's own config files (`serve deploy`)."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from simba_music.generation.engines.choice import EngineChoice
from simba_music.serving.ray.cluster import models_application, page_application
from simba_music.serving.ray.plan import WAITING, Plan, stepped_together
from simba_music.settings import EngineName, WeightDtype, settings


class Arguments(BaseModel):
    """`args` of both applications, which must be alike; each is an option of `serve --ray`."""

    model_config = ConfigDict(extra="forbid")

    left: str = "simba"
    right: str = "transformer"
    scorer: str | None = "clap"
    device: str = "auto"
    threads: int = Field(default=1, ge=1)
    engine: EngineName = "auto"
    weights: WeightDtype = "float32"
    replicas: int = Field(default=1, ge=1)
    most: int | None = Field(default=None, ge=1)
    gpus: float = Field(default=0.0, ge=0)
    pin: bool = False
    waiting: int = Field(default=WAITING, ge=0)

    def plan(self) -> Plan:
        """As the command makes it.

        Raises:
            UserError: If `most` is below `replicas`.
        """
        choice = EngineChoice(self.engine, self.weights, settings().slots)
        return Plan(
            self.left,
            self.right,
            None if self.scorer == "none" else self.scorer,
            self.device,
            self.threads,
            stepped_together(choice),
            least=self.replicas,
            most=self.most or self.replicas,
            cpus=float(self.threads),
            gpus=self.gpus,
            pinned=self.pin,
            waiting=self.waiting,
        )


def models(args: Arguments) -> Any:
    """The replicas of the models; its name in the file must be `simba-music-models`."""
    return models_application(args.plan())


def page(args: Arguments) -> Any:
    """The page, which finds the models by their application's name."""
    return page_application(args.plan(), settings().server_name)
