"""Templates: values are escaped, names must be given, and no page means no Jinja2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from spinsim.pages.render import Stat, page
from tests.studies.experiment_files import write_scenario


def study(template: str = "study.html", **changes: object) -> str:
    context = {
        "title": "t",
        "kicker": "k",
        "heading": "h",
        "lede": "l",
        "behind": (),
        "notes": (),
        "failed": (),
        "scenarios": (),
    }
    return page(template, stats=(), **{**context, **changes})


def test_every_value_is_escaped() -> None:
    evil = "<i>&\"'"
    text = study(heading=evil, notes=[evil], behind=[evil], title=evil)
    assert evil not in text
    assert text.count("&lt;i&gt;&amp;&#34;&#39;") == 4


def test_a_name_that_a_template_uses_must_be_given() -> None:
    with pytest.raises(UndefinedError, match="attainment"):
        page(
            "capacity.html",
            title="",
            kicker="",
            heading="",
            lede="",
            behind=(),
            stats=(),
            notes=(),
            failed=(),
        )


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("12.3 ms", ("12.3", "ms")),
        ("1.2x", ("1.2x", "")),
        ("3 of 4 ms", ("3 of 4", "ms")),
        ("3 of 4", ("3 of 4", "")),
    ],
)
def test_a_unit_is_set_small(value: str, parts: tuple[str, str]) -> None:
    assert Stat(value, "", "").parts == parts


def test_a_simulation_imports_what_it_needs_alone(tmp_path: Path) -> None:
    """A page takes templates, which only who asks for one pays; matplotlib draws studies, fits need scipy."""
    scenario, out = str(write_scenario(tmp_path)), str(tmp_path / "out")
    program = (
        "import sys\nfrom spinsim import api\n"
        "heavy = ('jinja2', 'matplotlib', 'scipy.optimize')\n"
        f"api.simulate({scenario!r})\nprint([name for name in heavy if name in sys.modules])\n"
        f"api.simulate({scenario!r}, out={out!r})\nprint([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n['jinja2']\n", "")
