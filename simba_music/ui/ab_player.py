"""A/B player: our own gr.HTML component, its scripts and style, and the messages it takes."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.streaming.sound import ChunkMessage

PLAYER_JS = Path(__file__).with_suffix(".js").read_text()
STREAM_JS = Path(__file__).with_name("stream_player.js").read_text()
Update = dict[str, Any]  # of the component's props
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
.ab-state:empty { display: none; }
.ab-keys, .ab-state, .bt-count { font-size: 12px; opacity: .75; }
.ab-say { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""
# Every message is taken as it comes: the prop `sound` is in no template, so that a change draws
# nothing. Its name must not stand in quotes here: Gradio would take it for an event and answer
# with something that is no JSON.
MOUNT_JS = """
const root = element.querySelector(".ab-root");
const playAtOnce = () => document.querySelector("#play-at-once input")?.checked;
let player = null, run = null, context = null;

const contextAt = (sampleRate) => {
  if (context?.sampleRate === sampleRate) return context;
  context?.close();
  return (context = new AudioContext({ sampleRate }));
};
// A page may play after a press of a button; some browsers ask for it within the press itself.
const pressed = (event) => {
  const meant = event.key ? event.key === "Enter" && event.target.closest("#prompt")
    : event.target.closest("#generate");
  if (meant && playAtOnce()) contextAt(props.rate).resume();
};
document.addEventListener("click", pressed, true);
document.addEventListener("keydown", pressed, true);

const begin = ({ names, seconds, rate }) => {
  player?.close();
  player = new StreamPlayer(root, names, contextAt(rate), seconds);
  root.hidden = false;
  if (playAtOnce()) player.playSoon();
};
watch(/sound/.source, () => {
  const { started, chunks = [], ended, ...given } = JSON.parse(props.sound);
  if (started) {
    run = given.run;
    begin(started);
  }
  if (given.run !== run) return;
  for (const chunk of chunks) player.add(chunk.clip, chunk);
  if (ended) player.end();
});
watchData("#verdict", "both", async (text) => {
  if (!text && player?.live) return;
  root.hidden = !text;
  if (!text) return void player?.stop();
  const { files, names } = JSON.parse(text);
  if (!player?.live) player = new ABPlayer(root, names);
  const mine = player;
  const [A, B] = await Promise.all([
    fetchClip("#left-player", files.A), fetchClip("#right-player", files.B)]);
  if (mine === player) mine.load({ A, B });
});
"""


def build(sample_rate: int) -> gr.HTML:
    """A player of both clips: of their sound as it is generated, then of the finished files.

    It is updated with what `started`, `playing` and `ended` return, usually at `sample_rate` Hz,
    and takes the files once the verdict's HTML holds what `both` returns.
    """
    return gr.HTML(
        '<div class="ab-root" hidden></div>',
        js_on_load=PLAYER_JS + STREAM_JS + MOUNT_JS,
        elem_id="both-player",
        rate=sample_rate,
        sound="{}",
    )


def started(run: str, names: Sequence[str], seconds: float, sample_rate: int) -> Update:
    """Begin to play a run: its two clips' names, escaped, and how long they will be."""
    about = {"names": dict(zip("AB", names, strict=True)), "seconds": seconds, "rate": sample_rate}
    return _sound({"run": run, "started": about})


def playing(run: str, chunks: "Sequence[ChunkMessage]") -> Update:
    """More sound of a run; `clip` of a chunk is A or B."""
    return _sound({"run": run, "chunks": chunks})


def ended(run: str) -> Update:
    """No more sound of a run comes, whatever is missing."""
    return _sound({"run": run, "ended": True})


def _sound(said: Update) -> Update:
    found: Update = gr.update(sound=json.dumps(said))
    return found


def both(files: Sequence[str], names: Sequence[str]) -> str:
    """HTML that gives the player two clips: names of the files above, and what to call them.

    It fetches the sound from the links of the players above, so that each is delivered once. It is
    HTML and no prop, since programs that call the page by HTTP can read no update of props.
    """
    given = {"files": files, "names": names}
    sides = {key: dict(zip("AB", own, strict=True)) for key, own in given.items()}
    return f'<span hidden data-both="{escape(json.dumps(sides))}"></span>'
