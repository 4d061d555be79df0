"""Model card: README.md of a published checkpoint, with its metrics as a model-index."""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from simba_music.files import read_json
from simba_music.models.config import LMConfig

LIBRARY, TASK = "simba_music", "text-to-audio"
BENCH = "SiMBA Music held-out captions"


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.json"
    return read_json(path)["rows"] if path.exists() else []


def results(folder: Path) -> list[EvalResult]:
    """The rows of `metrics.json`, named so that the Hub shows each once."""
    return [
        EvalResult(
            task_type=TASK,
            task_name="Text to music",
            dataset_type="simba-music-bench",
            dataset_name=BENCH,
            metric_type=row["metric"].replace(" ", "-"),
            metric_name=f"{row['metric']} (n = {row['n']})",
            metric_value=row["value"],
        )
        for row in _rows(folder)
    ]


def body_of(folder: Path) -> str:
    """What the checkpoint's own README says, without front matter and links out of its folder."""
    path = folder / "README.md"
    text = path.read_text() if path.exists() else ""
    body = text.split("---\n", 2)[2] if text.startswith("---\n") else text
    return re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", body).strip()


def _training(folder: Path) -> str:
    path = folder / "training.json"
    if not path.exists():
        return "Nothing is recorded."
    record = read_json(path)
    corpora = record.get("corpora", [])
    data = "; ".join(f"{c['name']} ({sum(c['hours'].values()):.1f} h)" for c in corpora)
    facts = {
        "data": data,
        "steps": record.get("steps"),
        "minutes": record.get("minutes"),
        "hardware": record.get("hardware"),
        "parameters": record.get("parameters"),
        "seed": (record.get("preset") or {}).get("seed"),
        "commit": record.get("commit"),
    }
    lines = [f"| {name} | {value} |" for name, value in facts.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *lines])


def _measures(folder: Path) -> str:
    lines = [
        f"| {row['metric']} | {row['value']:g} | {row['lo']:g} to {row['hi']:g} | {row['n']} |"
        for row in _rows(folder)
    ]
    if not lines:
        return "Not measured."
    return "\n".join(["| measure | value | 95 % interval | n |", "|---|---|---|---|", *lines])


def model_card(folder: Path, config: LMConfig, repository: str) -> ModelCard:
    """The card of a language model's folder, as it will stand in `repository`."""
    name = repository.split("/")[-1]
    tags = ["music", "text-to-music", "encodec", config.backbone, "arxiv:2507.06674"]
    data = ModelCardData(
        license=config.licence.lower(),
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=tags,
        model_name=name,
        eval_results=results(folder) or None,
    )
    codec = config.codec
    books = "1 codebook" if config.n_codebooks == 1 else f"{config.n_codebooks} codebooks"
    *most, last = map(str, config.codes_per_book)
    codes = f"{', '.join(most)} and {last}" if len(set(config.codes_per_book)) > 1 else last
    text = f"""---
{data.to_yaml()}
---

{body_of(folder) or f"# {name}"}

## Use it

In a checkout of SiMBA Music, after `pip install -e .`:

```
simba-music generate "calm solo piano, slow, sad" --model left --left {repository}
```

```python
from simba_music.publish import Checkpoint

clip = Checkpoint.from_pretrained("{repository}").generate("calm solo piano, slow, sad", seed=1)
clip.waveform.samples  # [C, T] at clip.waveform.sample_rate Hz
```

It generates {books} of {codes} EnCodec codes, {codec.frame_rate} frames a second, for
up to {config.max_trained_s:g} s at {codec.sample_rate} Hz, from the token states of
`{config.text_encoder.id}`.

## Training

{_training(folder)}

## Measures

{_measures(folder)}
"""
    return ModelCard(text)
