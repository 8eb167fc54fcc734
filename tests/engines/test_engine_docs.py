"""The pages on engines: their commands run, their outputs are current, their commits are the code's."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.engines import ENGINES
from spinsim.studies.published_choices import choices, lines

DOCS = Path(__file__).parents[2] / "docs"
GUIDE, PAGE = DOCS / "from-a-benchmark-to-a-flag.md", DOCS / "engines.md"
EXAMPLES = DOCS / "examples" / "vllm-bench"


def block(text: str, name: str) -> str:
    """What stands between a page's markers, without the fence."""
    found = re.search(rf"<!-- {name}: begin -->\n```\n(.*?)```\n<!-- {name}: end -->", text, re.DOTALL)
    assert found is not None, f"no block {name}"
    return found.group(1)


def test_the_guide_leads_from_benchmarks_to_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    shutil.copytree(EXAMPLES, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    commands = re.findall(r"<!-- run: begin -->\n```sh\n(.*?)\n```\n<!-- run: end -->", text, re.DOTALL)
    outputs = []
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "spinsim"
        workers = ["--workers", "0"] if words[1] == "export" else []
        done = CliRunner().invoke(app, [*words[1:], *workers], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        outputs.append(done.stdout)
    assert [block(text, "calibrate"), block(text, "export")] == outputs
    assert "vllm serve meta-llama/Llama-3.1-8B-Instruct --speculative-config" in outputs[-1]


def test_the_page_names_the_commits_and_every_fields_engine() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for engine in ENGINES.values():
        assert engine.commit in text
        assert f"`{engine.name}`" in text
        for name in engine.methods.values():
            assert f"`{name}`" in text


def test_the_table_of_published_choices_is_current() -> None:
    shown = "\n".join(line for line in lines(choices()) if not line.startswith("stand-in")) + "\n"
    assert block(PAGE.read_text(encoding="utf-8"), "published") == shown
