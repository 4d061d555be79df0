"""Publish: a checkpoint folder becomes a Hub repository that loads back bit for bit."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelHubMixin, constants

from simba_music.errors import CheckpointError
from simba_music.files import read_json, write_json
from simba_music.generation.clip import Clip
from simba_music.generation.loaded_models import LoadedModel
from simba_music.generation.pipeline import Pipeline
from simba_music.hub.lookup import explain
from simba_music.hub.places import CONFIG, WEIGHTS, locate
from simba_music.hub.weights import INDEX, weight_files
from simba_music.models.checkpoint import codec_source
from simba_music.publishing.model_card import LIBRARY, TASK, model_card

BESIDE = ("metrics.json", "training.json", "history.jsonl")


def stage(source: Path, out: Path, repository: str) -> None:
    """Write what is published: weights as they are, config, card, and the codec it brings along.

    Args:
        source: folder of a language model; a codec that it names beside itself goes to `codec/`.
        out: folder to fill.
        repository: org/name, for the card.

    Raises:
        CheckpointError: If it is not a language model, or anything of it does not load.
    """
    model = LoadedModel.load(str(source))  # nothing is published that does not load
    config, origin = model.lm.config, model.origin
    out.mkdir(parents=True, exist_ok=True)
    for path in [*weight_files(source), *source.glob(INDEX)]:
        shutil.copyfile(path, out / path.name)
    raw = read_json(source / CONFIG)
    if config.codec.id.startswith("."):
        folder = Path(codec_source(config, origin))
        (out / "codec").mkdir(exist_ok=True)
        for name in (WEIGHTS, CONFIG, "README.md", *BESIDE[:2]):
            if (folder / name).exists():
                shutil.copyfile(folder / name, out / "codec" / name)
        raw["codec"]["id"] = "./codec"
    write_json(out / CONFIG, raw)
    for name in BESIDE:
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)
    card = model_card(source, config, repository)
    (out / "README.md").write_text(card.content)


def push(source: str, repository: str, private: bool = False) -> str:
    """Create or update a Hub repository with a checkpoint.

    Args:
        source: folder or bundled name of a language model.
        repository: org/name.
        private: whether a new repository is hidden from others.

    Returns:
        `org/name@commit`, which loads it back.

    Raises:
        CheckpointError: If the checkpoint does not load, or the Hub refuses.
    """
    folder = locate(source).folder
    with tempfile.TemporaryDirectory() as made:
        stage(folder, Path(made), repository)
        try:
            # The Hub's own check, before anything is sent: a bad card would hide the metrics.
            ModelCard.load(Path(made) / "README.md").validate(repo_type="model")
            api = HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            done: Any = api.upload_folder(
                repo_id=repository,
                folder_path=made,
                commit_message=f"{folder.name}, by simba-music",
            )
        except Exception as error:
            raise refused(repository, error) from error
    return f"{repository}@{done.oid}"


def push_dataset(folder: Path, repository: str, private: bool = True) -> str:
    """Create or update a dataset on the Hub with the files of a folder.

    Args:
        folder: with its README.
        repository: org/name.
        private: whether a new dataset is hidden from others.

    Returns:
        Address of the dataset at its commit.

    Raises:
        CheckpointError: If the Hub refuses.
    """
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True, repo_type="dataset")
        done: Any = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            repo_type="dataset",
            commit_message="votes, by simba-music",
        )
    except Exception as error:
        raise refused(repository, error) from error
    return f"{constants.ENDPOINT}/datasets/{repository}/tree/{done.oid}"


def refused(repository: str, error: Exception) -> CheckpointError:
    """Why an upload failed, and what to do next."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return CheckpointError(
            f"{constants.ENDPOINT} does not let you write to {repository} ({status}). Log in with "
            "a token that may write (`hf auth login`, or HF_TOKEN), and check the name's owner."
        )
    if status is not None:
        return explain(repository, error)
    return CheckpointError(
        f"{repository} was not published on {constants.ENDPOINT}: {error} Check the name and the "
        "network, then run the same command again; what is there already is not sent twice."
    )


class Checkpoint(
    ModelHubMixin,
    library_name=LIBRARY,
    pipeline_tag=TASK,
    tags=["music", "arxiv:2507.06674"],
):
    """A language model with its codec and text encoder, for use from Python.

    `from_pretrained(name, revision=...)`, `save_pretrained(folder)` and `push_to_hub(name)` are
    those of `huggingface_hub`, with this project's strict loader underneath: safetensors only,
    every name and shape checked, digests compared.
    """

    def __init__(self, source: str):
        self.model = LoadedModel.load(source)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, revision: str | None, **settings: Any
    ) -> "Checkpoint":
        """Load a folder or a Hub repository strictly.

        Raises:
            CheckpointError: If it does not load, or a setting would be ignored.
        """
        ignored = [name for name, value in settings.items() if value]
        if ignored:
            raise CheckpointError(
                f"{', '.join(ignored)} cannot be given here. The environment decides: HF_TOKEN, "
                "HF_HUB_CACHE, HF_HUB_OFFLINE."
            )
        named = f"{model_id}@{revision}" if revision and not Path(model_id).is_dir() else model_id
        return cls(named)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the published form of the folder it came from."""
        stage(self.model.origin.folder, save_directory, self.model.origin.name)

    def generate(self, prompt: str, **settings: Any) -> Clip:
        """One clip; settings as in `Request` (duration_s, seed, temperature, ...).

        Raises:
            RequestError: If a setting is out of range.
        """
        pipeline = Pipeline({"left": self.model, "right": self.model}, scorer=None)
        request = pipeline.validate(prompt=prompt, **settings)
        return pipeline.generate_batch([request], "left")[0]
