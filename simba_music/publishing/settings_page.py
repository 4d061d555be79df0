"""Settings page: docs/settings.md, a row for every environment variable, from the settings."""

from simba_music.settings.variables import variables

HEAD = """# Settings

Written by `simba-music report` from `simba_music/settings`. Each of these is a variable of the
environment; an unset or empty one has its default. A value that is not allowed ends the command
with a message that names the variable. Where a command has an option of the same meaning (`--left`,
`--right`, `--scorer`, `--device`, `--threads`), the option wins.

| variable | default | allowed | what it decides |
|---|---|---|---|
"""
TAIL = """
Libraries read variables of their own. Of use here: `HF_TOKEN` opens private repositories,
`HF_ENDPOINT` names another Hub, `HF_HUB_OFFLINE=1` takes only what was downloaded before,
and `OMP_NUM_THREADS`, if it is set, stays as it is.
"""


def settings_page() -> str:
    """The page as Markdown."""
    rows = [f"| `{v.name}` | {v.default} | {v.allowed} | {v.meaning} |\n" for v in variables()]
    return "".join([HEAD, *rows, TAIL])
