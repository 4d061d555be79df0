"""LM average: the weights between those that a training began with and those it ended with."""

import json
from pathlib import Path

from simba_music.errors import RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.hub.places import WEIGHTS
from simba_music.models.checkpoint import load_language_model, save_language_model
from simba_music.training.corpus.store import read_rows, write_rows
from simba_music.training.corpus.tokens import TokenCorpus
from simba_music.training.lm.history import losses
from simba_music.training.lm.loss import validate
from simba_music.training.lm.start import exported_start
from simba_music.training.record import lineage


def average_training(start: Path, run: Path, share: float, corpus: Path, out: Path) -> None:
    """Write the checkpoint that lies `share` of the way from `start` to `run`, which began there.

    Other trainings may lie between the two, each begun with the weights of the one before. A
    training that went on for many epochs of a new corpus has learned some of it by heart; on
    the way between the two ends the loss on held-out pieces is below both (WiSE-FT, Wortsman et
    al. 2022, arXiv 2109.01903, section 3).

    The history gets a row of what it loses on the held-out crops of `corpus`, `training.json` the
    share and the digests of both ends.

    Raises:
        RequestError: If the share is not between 0 and 1, `run` did not start from `start`, nor
            from what started there, or it has learned a condition that `start` does not know.
    """
    if not 0 < share < 1:
        raise RequestError(f"A share of {share} is not between 0 and 1.")
    record = read_json(run / "training.json")
    if read_json(start / "training.json") not in lineage(record)[1:]:
        raise RequestError(f"{run} did not start from {start}: their weights do not go together.")
    model, _ = load_language_model(str(run))
    first, _ = exported_start(start, model.config)
    last = model.state_dict()
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in last.items()}:
        raise RequestError(
            f"{run} has learned a condition or books that {start} has no weights for."
        )
    # A straight line between two ends is only good where one began at the other: weights of two
    # separate trainings are permuted differently.
    model.load_state_dict({name: first[name].lerp(last[name], share) for name in last})
    held_out = TokenCorpus(corpus, "valid", model.config.n_codebooks)
    found = losses("valid", validate(model, held_out, "cpu"))
    save_language_model(out, model)
    history = list(read_rows(run / "history.jsonl"))
    write_rows(out / "history.jsonl", [*history, history[-1] | found | {"averaged": share}])
    averaged = {"share": share, "start": sha256(start / WEIGHTS), "end": sha256(run / WEIGHTS)}
    write_json(out / "training.json", record | {"averaged": averaged})
    print(json.dumps(found | averaged))
