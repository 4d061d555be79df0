"""Style: the page's CSS, read from files beside the code, and Gradio's theme in its colours."""

from pathlib import Path

import gradio as gr

_HERE = Path(__file__).parent
STYLE = "".join((_HERE / name).read_text() for name in ("tokens.css", "page.css"))
TABS_JS = (_HERE / "tabs.js").read_text()

_EVERYWHERE = {  # Gradio's tokens in ours, which change with light and dark by themselves
    "body_background_fill": "--sm-bg",
    "body_text_color": "--sm-ink",
    "body_text_color_subdued": "--sm-soft",
    "background_fill_primary": "--sm-panel",
    "background_fill_secondary": "--sm-chip",
    "border_color_primary": "--sm-line",
    "border_color_accent": "--sm-accent",
    "block_background_fill": "--sm-panel",
    "block_border_color": "--sm-line",
    "block_label_text_color": "--sm-soft",
    "block_title_text_color": "--sm-ink",
    "block_info_text_color": "--sm-soft",
    "input_background_fill": "--sm-panel",
    "input_border_color": "--sm-edge",
    "input_border_color_focus": "--sm-accent",
    "input_placeholder_color": "--sm-soft",
    "button_primary_background_fill": "--sm-ink",
    "button_primary_background_fill_hover": "--sm-accent",
    "button_primary_text_color": "--sm-bg",
    "button_primary_text_color_hover": "--sm-on-accent",
    "button_secondary_background_fill": "--sm-panel",
    "button_secondary_background_fill_hover": "--sm-chip",
    "button_secondary_border_color": "--sm-edge",
    "button_secondary_text_color": "--sm-ink",
    "color_accent_soft": "--sm-chip",
    "link_text_color": "--sm-accent",
    "link_text_color_hover": "--sm-accent",
    "link_text_color_visited": "--sm-accent",
    "link_text_color_active": "--sm-accent",
    "table_border_color": "--sm-line",
    "table_even_background_fill": "--sm-panel",
    "table_odd_background_fill": "--sm-bg",
}


def theme() -> gr.themes.Base:
    """Gradio's theme in the page's tokens; fonts of the visitor's system, so nothing is fetched."""
    found = gr.themes.Base(
        font=["system-ui", "-apple-system", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_lg,
    )
    given = {"color_accent": "var(--sm-accent)"}
    for name, token in _EVERYWHERE.items():
        given[name] = given[f"{name}_dark"] = f"var({token})"
    return found.set(**given)
