"""Settings: every environment variable of the project, checked, with its default and meaning."""

from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from simba_music.errors import UserError


def _variable(
    name: str,
    default: Any,
    meaning: str,
    allowed: str,
    *,
    otherwise: str = "",
    secret: bool = False,
    **limits: Any,
) -> Any:
    """A field that the variable `name` sets.

    Args:
        name: of the environment variable.
        default: value of the field where the variable is unset or empty.
        meaning: what it decides, for docs/settings.md.
        allowed: which values it takes, for docs/settings.md and for errors.
        otherwise: the default in words, where the value alone does not say it.
        secret: whether errors must not show its value.
        **limits: as pydantic's `Field` has them.
    """
    return Field(
        default,
        validation_alias=name,
        description=meaning,
        json_schema_extra={"allowed": allowed, "otherwise": otherwise, "secret": secret},
        repr=not secret,
        **limits,
    )


_CHECKPOINT = "a folder, a bundled name, or `org/name@revision` on the Hub"
_SWITCH = "1 or 0"
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
EngineName = Literal["auto", "graph", "compiled", "packed", "reference"]
WeightDtype = Literal["float32", "bfloat16", "int8"]  # of weights; int8 is compiled's
DEVICE = r"auto|cpu|mps|cuda(:\d+)?"  # what can be said of a device, as a pattern


class Settings(BaseSettings):
    """What the environment says at the moment the object is made."""

    model_config = SettingsConfigDict(
        frozen=True, case_sensitive=True, env_ignore_empty=True, extra="ignore"
    )

    left: str = _variable("SIMBA_MUSIC_LEFT", "simba", "Checkpoint of the left side.", _CHECKPOINT)
    right: str = _variable(
        "SIMBA_MUSIC_RIGHT", "transformer", "Checkpoint of the right side.", _CHECKPOINT
    )
    scorer: str = _variable(
        "SIMBA_MUSIC_SCORER",
        "clap",
        "Scorer of text against sound; the default is the bundled one.",
        "a folder, a bundled name, a Hub `ClapModel` (`laion/clap-htsat-unfused`), or `none`",
    )
    device: str = _variable(
        "SIMBA_MUSIC_DEVICE",
        "auto",
        "Device of the models; `auto` takes the best there is.",
        "`auto`, `cpu`, `cuda`, `cuda:N` or `mps`",
        pattern=f"^({DEVICE})$",
    )
    threads: int = _variable(
        "SIMBA_MUSIC_THREADS",
        1,
        "CPU threads of each side; one decodes fastest on a shared machine.",
        "a whole number from 1",
        ge=1,
    )
    engine: EngineName = _variable(
        "SIMBA_MUSIC_ENGINE",
        "auto",
        "What decodes; `auto` takes the fastest that is ready, the same for both sides.",
        "`auto`, `graph`, `compiled`, `packed` or `reference`",
    )
    weights: WeightDtype = _variable(
        "SIMBA_MUSIC_WEIGHTS",
        "float32",
        "How compiled (CPU) and graph (GPU) store weights; fewer bits are faster and less exact.",
        "`float32`, `bfloat16` or, on a CPU, `int8`",
    )
    slots: int | None = _variable(
        "SIMBA_MUSIC_SLOTS",
        None,
        "Requests that compiled (CPU) or graph (GPU) steps together; 0: each on its own.",
        "a whole number from 0",
        otherwise="8 with compiled, 0 with graph",
        ge=0,
    )
    at_once: bool = _variable(
        "SIMBA_MUSIC_AT_ONCE",
        True,
        "Whether both sides generate at the same time, on a CPU with cores for both.",
        _SWITCH,
        otherwise="1",
    )
    draw: bool = _variable(
        "SIMBA_MUSIC_DRAW",
        True,
        "Whether the seed draws tempo and key where a prompt leaves them open.",
        _SWITCH,
        otherwise="1",
    )
    models: str = _variable(
        "SIMBA_MUSIC_MODELS",
        "",
        "Hub checkpoints that visitors may choose, besides the bundled ones.",
        "`org/name@revision`, several with commas or spaces between them",
        otherwise="none",
    )
    any_model: bool | None = _variable(
        "SIMBA_MUSIC_ANY_MODEL",
        None,
        "Whether visitors may name any checkpoint.",
        _SWITCH,
        otherwise="1 where only this machine reaches the page, else 0",
    )
    max_download_gb: float = _variable(
        "SIMBA_MUSIC_MAX_DOWNLOAD_GB",
        4.0,
        "Largest repository that is downloaded, in GB.",
        "a number from 0",
        ge=0,
    )
    model_memory_gb: float = _variable(
        "SIMBA_MUSIC_MODEL_MEMORY_GB",
        8.0,
        "Models kept in memory beside the two in use, in GB; at most four models.",
        "a number from 0",
        ge=0,
    )
    step_timeout_s: float = _variable(
        "SIMBA_MUSIC_STEP_TIMEOUT_S",
        120.0,
        "Longest step of a generation in s; a run that stands still longer is ended. 0: no limit.",
        "a number from 0",
        ge=0,
    )
    memory_gb: float = _variable(
        "SIMBA_MUSIC_MEMORY_GB",
        0.0,
        "Memory of the process in GB above which nothing new is begun; 0: no limit.",
        "a number from 0",
        ge=0,
    )
    free_disk_gb: float = _variable(
        "SIMBA_MUSIC_FREE_DISK_GB",
        0.2,
        "Free disk space in GB below which nothing is downloaded or generated.",
        "a number from 0",
        ge=0,
    )
    log: Literal["text", "json"] = _variable(
        "SIMBA_MUSIC_LOG", "text", "Form of the log's lines.", "`text` or `json`"
    )
    log_prompts: bool = _variable(
        "SIMBA_MUSIC_LOG_PROMPTS",
        False,
        "Whether the log may hold prompts.",
        _SWITCH,
        otherwise="0",
    )
    data: Path | None = _variable(
        "SIMBA_MUSIC_DATA",
        None,
        "Folder for what must outlive a restart: votes, clips of the blind test, the key.",
        "a folder, which is made if it is missing",
        otherwise="the user's data folder",
    )
    clips: str | None = _variable(
        "SIMBA_MUSIC_CLIPS",
        None,
        "Where clips of the blind test are kept; replicas share it.",
        "a folder, or an address such as `s3://bucket/clips`",
        otherwise="a folder of the data folder",
    )
    secret: str | None = _variable(
        "SIMBA_MUSIC_SECRET",
        None,
        "Key that signs the blind test's tickets; replicas share it.",
        "any text that nobody can guess",
        otherwise="one made once and kept in the data folder",
        secret=True,
    )
    database_url: str | None = _variable(
        "DATABASE_URL",
        None,
        "Database of the votes.",
        "an address such as `postgresql://user@host/name` or `sqlite:///votes.sqlite3`",
        otherwise="SQLite in the data folder",
        secret=True,
        pattern="://",
    )
    votes: str | None = _variable(
        "SIMBA_MUSIC_VOTES",
        None,
        "Dataset on the Hub that keeps a copy of the votes.",
        "`org/name`",
        otherwise="no copy is kept",
        pattern=r"^[\w.-]+/[\w.-]+$",
    )
    votes_public: bool = _variable(
        "SIMBA_MUSIC_VOTES_PUBLIC",
        False,
        "Whether that dataset, if it is new, is seen by everyone.",
        _SWITCH,
        otherwise="0",
    )
    visitor_jobs: int = _variable(
        "SIMBA_MUSIC_VISITOR_JOBS",
        4,
        "Clips and pairs that one visitor from elsewhere may wait for at a time.",
        "a whole number from 1",
        ge=1,
    )
    kept_gb: float = _variable(
        "SIMBA_MUSIC_KEPT_GB",
        4.0,
        "Disk for clips that were generated, and as much again for pairs for typed prompts, in GB.",
        "a number from 0",
        ge=0,
    )
    server_name: str = _variable(
        "GRADIO_SERVER_NAME", "127.0.0.1", "Address that the page is served on.", "an address"
    )
    share: bool = _variable(
        "GRADIO_SHARE",
        False,
        "Whether a public address is served too, as `--share` says.",
        "true or false",
        otherwise="false",
    )
    zero_gpu: bool = _variable(
        "SPACES_ZERO_GPU",
        False,
        "Set by Hugging Face on ZeroGPU, where the GPU belongs to another process.",
        _SWITCH,
        otherwise="0",
    )
    space_id: str | None = _variable(
        "SPACE_ID",
        None,
        "Set by Hugging Face on a Space, where visitors may not name any checkpoint.",
        "`org/name`",
        otherwise="not on a Space",
    )

    @property
    def public(self) -> bool:
        """Whether others than whoever sits at this machine can reach the page."""
        return self.space_id is not None or self.share or self.server_name not in _LOOPBACK


def settings() -> Settings:
    """What the environment says now.

    Raises:
        UserError: If a variable has a value that is not allowed.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        name = str(wrong["loc"][0])
        field = next(f for f in Settings.model_fields.values() if f.validation_alias == name)
        said: Any = field.json_schema_extra
        got = "something else, which is not shown" if said["secret"] else repr(wrong["input"])
        allowed = said["allowed"].replace("`", "")
        raise UserError(
            f"The environment variable {name} must be {allowed}; got {got}. Correct it, or unset "
            "it for the default; docs/settings.md lists every variable."
        ) from None


def data_folder() -> Path:
    """Where the app keeps what must outlive a restart: `SIMBA_MUSIC_DATA`, or the user's own."""
    return settings().data or Path(platformdirs.user_data_dir("simba-music"))
