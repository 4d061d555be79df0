"""What deploy/ holds is well-formed and names what there is."""

import ast
import json
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from simba_music.settings.variables import variables

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
FILES = sorted(DEPLOY.iterdir())
PAGE = (ROOT / "docs" / "deploy.md").read_text()


def test_every_file_is_on_the_page():
    assert {path.name for path in FILES} == set(re.findall(r"deploy/([\w.-]+\w)", PAGE))


@pytest.mark.parametrize("path", [*FILES, ROOT / "docs" / "deploy.md"], ids=lambda p: p.name)
def test_every_variable_is_one_of_the_settings(path):
    known = {variable.name for variable in variables()}
    assert set(re.findall(r"SIMBA_MUSIC_[A-Z]+(?:_[A-Z]+)*", path.read_text())) <= known


def test_the_image_is_made_of_files_and_extras_that_there_are():
    text = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in sources.split()), sources
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (asked,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    assert set(asked.split(",")) <= set(extras["optional-dependencies"])


def test_the_cluster_files_name_what_there_is():
    kube = yaml.safe_load((DEPLOY / "kuberay.yaml").read_text())
    inner = yaml.safe_load(kube["spec"]["serveConfigV2"])
    for found in (yaml.safe_load((DEPLOY / "serve.yaml").read_text()), inner):
        models, page = found["applications"]
        assert (models["name"], page["name"]) == ("simba-music-models", "simba-music")
        assert models["args"] == page["args"]
        for one, builder in ((models, "models"), (page, "page")):
            module, name = one["import_path"].split(":")
            assert name == builder
            path = ROOT / (module.replace(".", "/") + ".py")
            tree = ast.parse(path.read_text())
            assert builder in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "only written" in (DEPLOY / "kuberay.yaml").read_text().lower()


def test_the_unit_ends_the_page_later_than_the_page_ends_itself():
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "simba-music.service")
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > 10
    assert service["WorkingDirectory"] in service["ExecStart"] and "app.py" in service["ExecStart"]


def test_the_figure_of_replicas_is_that_of_its_file():
    found = json.loads((ROOT / "docs" / "replicas.json").read_text())
    assert found["same_tokens"] and found["clients"] == 16
    assert (
        f"{found['times']:g} times the clips a minute" in (ROOT / "docs" / "serving.md").read_text()
    )
