"""Page: Blocks whose API is our endpoints alone, each callable with its first arguments only."""

import importlib.util
import re
from typing import Any

import gradio as gr
from fastapi import Request
from fastapi.responses import JSONResponse
from gradio.blocks import BlockFunction  # type: ignore[attr-defined]
from gradio.components.api_component import Api
from gradio.route_utils import FnIndexInferError

NAMES = ("compare", "generate", "read", "models", "score")


class Page(gr.Blocks):
    """A page; what its buttons call is not listed, and programs may leave arguments out."""

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        """Fill in the defaults of an endpoint that is called by plain HTTP."""
        blocks: list[Any] = list(block_fn.inputs)
        missing = blocks[len(inputs) :]
        if missing and all(isinstance(block, Api) for block in blocks):
            if not inputs and blocks[0].value is None:
                raise gr.Error(
                    f"{block_fn.api_name} needs its first argument. GET /gradio_api/info lists "
                    "them.",
                    print_exception=False,
                )
            inputs.extend(block.value for block in missing)
        super().validate_inputs(block_fn, inputs)

    def close_to_programs(self) -> None:
        """Keep all but the endpoints to the page itself; called when everything is laid out."""
        for function in self.fns.values():
            if function.api_name not in NAMES:
                function.api_visibility = "private"


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """What a call by plain HTTP gets whose endpoint or arguments there are not, as a sentence.

    Raises:
        Exception: The same error, if it is of no such call.
    """
    called = re.search(r"/call/(?:v2/)?([^/]*)/?$", request.url.path)
    if called is None:
        raise error
    if called[1] not in NAMES:
        said = f"There is no endpoint {called[1][:40]!r}. Call one of: {', '.join(NAMES)}."
        return JSONResponse({"error": said}, 404)
    unknown = re.search(r"Parameter `(.{1,40})", str(error))
    said = f"there is none called {unknown[1].split('`')[0]!r}" if unknown else "some are missing"
    said = f"The arguments of {called[1]} are wrong: {said}. GET /gradio_api/info lists them."
    return JSONResponse({"error": said}, 422)


# Gradio raises these of its own before a call reaches us; launch(app_kwargs=...) takes it.
_RAISED = (TypeError, KeyError, ValueError, FnIndexInferError)
APP_KWARGS = {"exception_handlers": dict.fromkeys(_RAISED, refuse)}


def speaks_mcp() -> bool:
    """Whether the endpoints are tools of an MCP server too: the extra `mcp` is installed."""
    found = importlib.util.find_spec("mcp")
    return found is not None and found.origin is not None  # else a folder that is called so
