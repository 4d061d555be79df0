"""A/B player: its script and style, which every tab that plays two clips builds on."""

from pathlib import Path

from simba_music.ui.look.words import WORDS_JS

PLAYER_JS = WORDS_JS + Path(__file__).with_suffix(".js").read_text()
STYLE = """
.ab { --ab-loop: rgba(128, 128, 255, .25); --ab-head: #f97316; outline-offset: 4px; }
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
.ab-time { font-variant-numeric: tabular-nums; }
.bt-count { font-size: 12px; opacity: .75; }
.ab-say { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""
