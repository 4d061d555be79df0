"""A/B player: our own gr.HTML component, and its script and style."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

PLAYER_JS = Path(__file__).with_suffix(".js").read_text()
STYLE = """
.ab { --ab-loop: rgba(128, 128, 255, .25); --ab-head: #f97316; outline-offset: 4px; }
.ab-rows { display: grid; grid-template-columns: minmax(84px, max-content) 1fr;
  gap: 6px 10px; align-items: center; }
.ab-wave { width: 100%; height: 64px; touch-action: none; cursor: pointer; color: #6366f1;
  background: var(--background-fill-secondary); border-radius: 6px; }
.ab-ruler { position: relative; height: 16px; font-size: 11px; opacity: .7; }
.ab-ruler span { position: absolute; }
.ab-side { max-width: 38vw; overflow: hidden; text-overflow: ellipsis; }
.ab-side, .ab-play, .ab-loop, .bt button { min-height: 44px; padding: 0 14px; cursor: pointer;
  border: 1px solid var(--border-color-primary); border-radius: 8px;
  background: var(--button-secondary-background-fill); color: var(--body-text-color); }
.ab button, .bt button { margin: 0; }
.ab button[aria-pressed="true"] { background: #4f46e5; color: white; }
.ab button:disabled, .bt button:disabled { opacity: .45; cursor: default; }
.ab-controls { display: flex; flex-wrap: wrap; gap: 10px; align-items: center; margin-top: 8px; }
.ab-time { font-variant-numeric: tabular-nums; }
.ab-keys, .bt-count { font-size: 12px; opacity: .75; }
.ab-say { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""
MOUNT_JS = """
const root = element.querySelector(".ab-root");
let player = null;
watchData("#verdict", "both", async (text) => {
  root.hidden = !text;
  player?.stop();
  if (!text) return;
  const { files, names } = JSON.parse(text);
  player = new ABPlayer(root, names);
  const [A, B] = await Promise.all([
    fetchClip("#left-player", files.A), fetchClip("#right-player", files.B)]);
  player.load({ A, B });
});
"""


def build() -> gr.HTML:
    """A player that appears once the verdict's HTML holds what `both` returns."""
    root = '<div class="ab-root" hidden></div>'
    return gr.HTML(root, js_on_load=PLAYER_JS + MOUNT_JS, elem_id="both-player")


def both(files: Sequence[str], names: Sequence[str]) -> str:
    """HTML that gives the player two clips: names of the files above, and what to call them.

    It fetches the sound from the links of the players above, so that each is delivered once. It is
    HTML and no prop, since programs that call the page by HTTP can read no update of props.
    """
    given = {"files": files, "names": names}
    sides = {key: dict(zip("AB", own, strict=True)) for key, own in given.items()}
    return f'<span hidden data-both="{escape(json.dumps(sides))}"></span>'
