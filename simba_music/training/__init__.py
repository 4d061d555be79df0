"""Training and evaluation; only the command line imports it."""

import contextlib
import io

# Imported here first: it prints where its library is when the environment has CI set, and standard
# output belongs to the command that runs. `pretty_midi` imports it where it is installed.
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(ImportError):
    import fluidsynth  # noqa: F401
