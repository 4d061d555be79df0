"""Entry for `make app` and for a Hugging Face Space: load the models, launch the app."""

import contextlib
import sys

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401  ZeroGPU patches torch, so it comes first; it is absent elsewhere

from simba_music.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
