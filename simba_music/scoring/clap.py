"""CLAP of the Hub: a `transformers.ClapModel`, such as laion/clap-htsat-unfused, as a scorer."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256
from simba_music.hub.places import BUNDLED, WEIGHTS
from simba_music.scoring.bundled import NULL_PROMPTS
from simba_music.scoring.score import Scorer

# Buffers that older files hold and newer classes compute, or the other way round.
_COMPUTED = ("position_ids", "token_type_ids", "relative_position_index")


class ClapScorer(Scorer):
    """`ClapModel` (Wu et al. 2023) behind the interface of `Scorer`; frozen, float32."""

    def __init__(self, model: Any, tokenizer: Any, extractor: Any, name: str, revision: str):
        super().__init__(name, revision, extractor.sampling_rate)
        self.model, self.tokenizer, self.extractor = model.eval(), tokenizer, extractor
        # Fast tokenizers keep truncation and padding inside: one side at a time.
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path, name: str, revision: str | None) -> "ClapScorer":
        """Load a folder strictly; `name` and `revision` are what its scores will say.

        Raises:
            CheckpointError: If weights and config do not fit, or a tower is collapsed.
        """
        try:
            loaded: Any = ClapModel.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            model, info = loaded
            tokenizer = AutoTokenizer.from_pretrained(folder)
            extractor = ClapFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"Scorer {name} could not be loaded: {error}") from error
        keys = [*info["missing_keys"], *info["unexpected_keys"]]
        wrong = [k for k in keys if not k.endswith(_COMPUTED)] + list(info["mismatched_keys"])
        if wrong:
            raise CheckpointError(
                f"Scorer {name}: {len(wrong)} weights do not fit its config, {wrong[0]} for one."
            )
        scorer = cls(model, tokenizer, extractor, name, revision or sha256(folder / WEIGHTS)[:12])
        # The same mismatched prompts as the bundled scorer's, so that percentiles compare.
        scorer.prepare(read_json(BUNDLED / "clap" / NULL_PROMPTS))
        return scorer

    @torch.no_grad()
    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """See `Scorer`."""
        with self._lock:
            batch = self.tokenizer(
                list(prompts), padding=True, truncation=True, return_tensors="pt"
            )
        # Normalised here, whether or not a version of transformers does it already.
        found = self.model.get_text_features(**batch).pooler_output
        return F.normalize(found, dim=-1)

    @torch.no_grad()
    def embed_samples(self, samples: Tensor) -> Tensor:
        """See `Scorer`; windows no longer than 10 s leave the extractor nothing to crop."""
        longest = self.extractor.nb_max_samples
        batch = self.extractor(
            [row[:longest].numpy() for row in samples],
            sampling_rate=self.sample_rate,
            return_tensors="pt",
        )
        found = self.model.get_audio_features(**batch).pooler_output
        return F.normalize(found, dim=-1)
