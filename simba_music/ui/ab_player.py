"""A/B player: our own gr.HTML component, and its script and style."""

import json
from collections.abc import Sequence
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
watch("clips", async () => {
  root.hidden = !props.clips;
  player?.stop();
  if (!props.clips) return;
  const { files, names } = JSON.parse(props.clips);
  player = new ABPlayer(root, names);
  const [A, B] = await Promise.all([
    fetchClip("#left-player", files.A), fetchClip("#right-player", files.B)]);
  player.load({ A, B });
});
"""


def build() -> gr.HTML:
    """A player that appears once its prop `clips` is what `both` returns."""
    root = '<div class="ab-root" hidden></div>'
    return gr.HTML(root, js_on_load=PLAYER_JS + MOUNT_JS, clips="", elem_id="both-player")


def both(files: Sequence[str], names: Sequence[str]) -> str:
    """Names of the files that the two players above have, and what to call them, for the player.

    It fetches the sound from these players' links, so that each is delivered once.
    """
    found = {side: file for side, file in zip("AB", files, strict=True)}
    return json.dumps({"files": found, "names": dict(zip("AB", names, strict=True))})
