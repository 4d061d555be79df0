"""Puts the bundled checkpoints and the figures of the Results tab into the wheel."""

from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class WithCheckpoints(build_py):
    """A build that copies `checkpoints/` and the pictures of `docs/` into the package."""

    def run(self) -> None:
        """Build; an editable install finds them in the checkout."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "simba_music"
        left_out = ignore_patterns("*.state", "*.part", "*.png", "codec-next")
        copytree(ROOT / "checkpoints", package / "checkpoints", ignore=left_out, dirs_exist_ok=True)
        (package / "docs").mkdir(exist_ok=True)
        for figure in (ROOT / "docs").glob("*.png"):
            copyfile(figure, package / "docs" / figure.name)


setup(cmdclass={"build_py": WithCheckpoints})
