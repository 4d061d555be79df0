import os
import subprocess
import sys


def test_a_package_that_prints_when_imported_leaves_the_output_alone(tmp_path):
    """pyfluidsynth names its library on standard output where the environment has CI set."""
    (tmp_path / "fluidsynth.py").write_text("print('found', flush=True)\n")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    code = "import simba_music.training, fluidsynth, pretty_midi; print('{}')"
    run = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": paths, "CI": "1"}
    made = subprocess.run(run, capture_output=True, text=True, check=True, env=env)
    assert made.stdout == "{}\n"
