"""An event loop of a test's own: the thread's, which Gradio begins and never closes, stays."""

import asyncio


def run(coroutine):
    """As `asyncio.run`, which would drop the thread's loop unclosed: a later test fails on it."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
