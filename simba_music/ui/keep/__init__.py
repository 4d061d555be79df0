"""Keep: what outlives a visit: downloads, links, the browser's history, clips brought back."""

from simba_music.ui.keep.panels import STYLE, download_menu, history_panel, restore, share_button

__all__ = ["STYLE", "download_menu", "history_panel", "restore", "share_button"]
