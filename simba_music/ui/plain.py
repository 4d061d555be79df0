"""Plain: a part of a page takes texts and numbers, and no dict or list that a program sends."""

from typing import Any

import gradio as gr


def plain(part: gr.components.Component) -> None:
    """Refuse a dict or a list that a program sends to a part: as a text it would be generated."""
    read = part.preprocess

    def checked(payload: Any) -> Any:
        if isinstance(payload, dict | list):
            kind = type(payload).__name__
            raise gr.Error(f"{part.label} must be a text or a number, got {kind}.")
        try:
            return read(payload)
        except (TypeError, ValueError) as error:
            raise gr.Error(f"{part.label} cannot be {payload!r:.80}.") from error

    part.preprocess = checked  # type: ignore[method-assign]
