"""SiMBA Music: text-to-music with a SiMBA and a Transformer decoder over EnCodec tokens.

Axes, in shapes: B batch, C audio channels, T samples, S tokens (codec frames), K codebooks,
L text tokens, D model width, V vocabulary, H heads, P head width, N state size, M mel bands,
E embedding width.
"""

__version__ = "0.2.0"
