"""Tokens: audio as codes and captions as text states, in shards that are mapped, not loaded."""

from simba_music.training.corpus.tokens.access import (
    CropTokens,
    Example,
    TokenCorpus,
    stack_text,
)
from simba_music.training.corpus.tokens.encode import encode_captions, encode_corpus
from simba_music.training.corpus.tokens.refs import MINILM, codebooks_of, codec_ref

__all__ = [
    "MINILM",
    "CropTokens",
    "Example",
    "TokenCorpus",
    "codebooks_of",
    "codec_ref",
    "encode_captions",
    "encode_corpus",
    "stack_text",
]
