"""Entry for `make app` and for a Hugging Face Space: load the models, launch the app."""

import sys

from simba_music.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
