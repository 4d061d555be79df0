"""Wiring: the form of the page to what is kept: marks of a run become events, and back again."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

WIRING_JS = """
const part = document.querySelector.bind(document);
let last = "";
const urlOf = async (side, file) => {
  for (;;) {
    const link = part(`#${side}-player a[download]`);
    if (link && decodeURIComponent(link.href).endsWith(`/${file}`)) return link.href;
    await new Promise((done) => setTimeout(done, 50));
  }
};
const look = async () => {
  const said = part("#verdict [data-kept]")?.dataset.kept ?? "";
  if (said === last) return;
  last = said;
  if (!said) return;
  const { event, files, ...detail } = JSON.parse(said);
  if (files) {
    const urls = await Promise.all(Object.entries(files).map((each) => urlOf(...each)));
    detail.pair.urls = urls;
  }
  document.dispatchEvent(new CustomEvent(event, { detail }));
};
const mount = () => {
  if (!part("#verdict")) return void setTimeout(mount, 50);
  new MutationObserver(look).observe(part("#verdict"),
    { subtree: true, childList: true, attributes: true });
  look();
};
mount();
document.addEventListener("simba:restore", ({ detail }) => {
  window.simbaGenerate = detail.play;
  trigger("restored", detail);
});
"""
GENERATE_JS = """
() => {
  if (!window.simbaGenerate) return;
  window.simbaGenerate = false;
  document.querySelector("#generate").click();
}
"""


def mark(event: str, **detail: object) -> str:
    """HTML that makes the page send an event; `files` of a pair are names by side."""
    said = escape(json.dumps({"event": event, **detail}))
    return f'<span hidden data-kept="{said}"></span>'


def connect(form: Mapping[str, gr.components.Component]) -> None:
    """Fill the parts of a form by the names of a request's fields and of sides; `fresh` is off."""
    names = list(form)

    def fill(event: gr.EventData) -> list[Any]:
        found = dict(getattr(event, "_data", None) or {})
        given = {**found.pop("settings", {}), **found, "fresh": False}
        return [given.get(name, gr.skip()) for name in names]

    wires = gr.HTML("", js_on_load=WIRING_JS, elem_id="kept-wires", visible="hidden")
    filled = wires.restored(fill, None, list(form.values()), queue=False, api_visibility="private")
    filled.then(None, None, None, js=GENERATE_JS, api_visibility="private")
