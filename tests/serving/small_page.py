"""A small Gradio page behind everything that stands around the app's, in this process."""

import gc
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from simba_music.serving.health import Parts
from simba_music.serving.host import around


class Small:
    """Its address, its parts, and what ran in which order."""

    def __init__(self, folder: Path, test=None):
        self.ran: list[str] = []
        self.hold = threading.Event()  # work goes on until this is set
        self.parts = Parts(lambda: True, lambda: test, folder)
        with gr.Blocks() as self.page:
            name, shown = gr.Textbox(), gr.Textbox()
            go = gr.Button()
            go.click(self.work, name, shown, api_name="work", concurrency_id="work")
            go.click(lambda: "read", None, shown, api_name="votes")
        self.page.queue(api_open=False)
        self.around = around(self.page, self.parts)
        _, self.url, _ = self.page.launch(
            app_kwargs=self.around,
            prevent_thread_lock=True,
            quiet=True,
            run_history=False,
            enable_monitoring=False,
        )
        self.url = self.url.rstrip("/")
        self.queue = self.page._queue.push.__self__

    def work(self, name):
        self.ran.append(name)
        while not self.hold.is_set():
            time.sleep(0.02)
            yield name
        yield name

    def ask(self, path, data=None, headers=None, timeout=30):
        """(status, text, headers) of a request."""
        body = None if data is None else json.dumps(data).encode()
        asked = urllib.request.Request(
            self.url + path, body, {"content-type": "application/json"} | (headers or {})
        )
        try:
            with urllib.request.urlopen(asked, timeout=timeout) as answer:
                return answer.status, answer.read().decode(errors="replace"), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), dict(error.headers)

    def join(self, name, visitor=None, api="work"):
        """Ask for a job; (status, its event or the refusal)."""
        headers = {"x-forwarded-for": visitor} if visitor else {}
        data = {"data": [name] if api == "work" else [], "session_hash": uuid.uuid4().hex}
        status, text, _ = self.ask(f"/gradio_api/call/{api}", data, headers)
        return status, json.loads(text)["event_id"] if status == 200 else text

    def is_read(self, job):
        """Whether somebody reads the answer of a job."""
        return self.queue._messages(job).ever_read

    def read(self, event, api="work"):
        """Read a job's answer to its end, in a thread."""
        found: list[str] = []
        path = f"/gradio_api/call/{api}/{event}"
        thread = threading.Thread(target=lambda: found.append(self.ask(path)[1]), daemon=True)
        thread.start()
        thread.found = found
        return thread


@contextmanager
def small_page(folder, test=None):
    """A page that is served for as long as this lasts."""
    small = Small(folder, test)
    try:
        yield small
    finally:
        small.hold.set()
        small.page.close(verbose=False)
        # Gradio leaves its loop to the garbage collector, which would warn in some later test.
        del small.page, small.queue, small.around
        gc.collect()


def until(true, seconds=10.0):
    """Wait until something is true; returns how long it took, in s."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "never true"
        time.sleep(0.02)
    return time.monotonic() - began
