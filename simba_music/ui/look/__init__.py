"""Look: the page's colours, type and distances, its words, and Gradio's theme in them."""
