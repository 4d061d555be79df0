"""API: stable named endpoints for programs, on the page's own server; docs/api.md shows them."""

from simba_music.ui.api.endpoints import build
from simba_music.ui.api.page import APP_KWARGS, NAMES, Page, speaks_mcp

__all__ = ["APP_KWARGS", "NAMES", "Page", "build", "speaks_mcp"]
