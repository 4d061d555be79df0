"""Look: the page's colours, type and distances, its words, and what Gradio's theme makes of them."""
