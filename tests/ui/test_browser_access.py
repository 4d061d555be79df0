"""The Create tab with axe-core in headless Chromium, light and dark (marker `browser`).

axe-core is that of the package axe-playwright-python, which continuous integration installs
without its dependencies; without it these tests are left out, except there.
"""

import importlib.util
import os
from pathlib import Path

import pytest
from browser import CAN_PLAY, WIDTHS, shoot, visit, wait

pytestmark = pytest.mark.browser

FOUND = importlib.util.find_spec("axe_playwright_python")
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def axe():
    """The script."""
    if FOUND is None or FOUND.origin is None:
        assert "CI" not in os.environ, "axe-core is missing: see .ci/run"
        pytest.skip("axe-core is not installed")
    return (Path(FOUND.origin).parent / "axe.min.js").read_text()


@pytest.mark.parametrize("form", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_anyone_out(axe, address, form, theme, tmp_path):
    with visit(f"{address}/?__theme={theme}", form, tmp_path / "profile") as page:
        wait(page, CAN_PLAY)
        page.execute_script("document.querySelector('#create .st-open').click()")
        shoot(page, f"settings-{theme}")
        page.execute_script(axe)
        found = page.execute_async_script(
            "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] })"
            ".then((r) => done(r.violations.map((v) => [v.impact, v.id,"
            " v.nodes.slice(0, 4).map((n) => n.target.join(' ') + ' ' + n.failureSummary)])))"
        )
        assert [one for one in found if one[0] in SERIOUS] == []
