"""Bad input: its place, its key and exit code 2. How it is worded may improve."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim.cli import app

SCENARIO = """\
name: small
seed: 1
workload:
  requests: 2
  arrivals: {process: closed, concurrency: 1}
  prompt_tokens: {distribution: fixed, value: 8}
  output_tokens: {distribution: fixed, value: 4}
models:
  target: {shape: llama-7b}
  drafts: {a: {shape: llama-68m}}
devices: {gpu0: {hardware: h100}}
placement: {target: [gpu0], drafts: {a: gpu0}}
costs: {model: roofline}
acceptance: {model: constant, probability: 0.5}
policies:
  selector: {name: fixed, draft: a}
  length: {name: fixed, tokens: 2}
  packing: {name: padded}
limits: {batch: 2, context_tokens: 64, prefill_chunk_tokens: 32}
"""
EDITS = [  # what replaces what, and where the error is
    ("name: small\n", "", "s.yaml:1: name"),
    ("seed: 1", "seed: -1", "s.yaml:2: seed"),
    ("seed: 1", "sede: 1", "s.yaml:2: sede"),
    ("seed: 1", "seed: [1", "s.yaml:3"),
    ("seed: 1", "seed: 1\nseed: 2", "s.yaml:3: seed"),
    ("requests: 2", "requests: many", "s.yaml:4: workload.requests"),
    ("process: closed", "process: poison", "s.yaml:5: workload.arrivals.process"),
    ("target: {shape: llama-7b}", "target: {shape: llama-7}", "s.yaml:9: models.target.shape"),
    ("hardware: h100", "hardware: h1000", "s.yaml:11: devices.gpu0.hardware"),
    ("drafts: {a: gpu0}", "drafts: {a: gpu1}", "s.yaml:12: placement.drafts.a"),
    ("costs: {model: roofline}", "costs: {model: profile, path: no.json}", "s.yaml:13: costs.path"),
    ("probability: 0.5", "probability: 1.5", "s.yaml:14: acceptance.probability"),
    ("draft: a}", "draft: b}", "s.yaml:16: policies.selector.draft"),
    ("name: fixed, tokens: 2", "name: fixd", "s.yaml:17: policies.length.name"),
    ("batch: 2", "batch: 0", "s.yaml:19: limits.batch"),
    ("context_tokens: 64", "context_tokens: 4", "s.yaml:19: limits.context_tokens"),
    ("limits: ", "limit: ", "s.yaml:19: limit"),
]
COMMANDS = [  # a command line, and where the error is
    (["simulate", "none.yaml"], "none.yaml"),
    (["simulate", "s.yaml", "--set", "limits.batch=0"], "--set limits.batch=0: limits.batch"),
    (["simulate", "s.yaml", "--set", "limits"], "--set limits"),
    (["simulate", "s.yaml", "--seed", "-1"], "spinsim simulate: --seed"),
    (["simulate", "s.yaml", "--intervals", "1"], "--intervals"),
    (["simulate", "s.yaml", "--out", "s.yaml"], "s.yaml"),
    (["simulate", "s.yaml", "--plugin", "none.py"], "HERE/none.py"),
    (["sweep", "s.yaml", "--grid", "limits.batches=1,2"], "--grid limits.batches=1,2: limits.batches"),
    (["compare", "s.yaml", "--policy", "x:selector=none"], "--policy x: policies.selector.name"),
    (["capacity", "s.yaml", "--slo", "speed=1"], "--slo speed=1"),
    (["tune", "s.yaml", "--trials", "0"], "spinsim tune: --trials"),
    (["replay", "."], "."),
    (["report", "."], "."),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)


def test_the_scenario_is_good() -> None:
    """So that what follows is refused for what was changed."""
    done = CliRunner().invoke(app, ["simulate", "s.yaml", "--out", "out", "--quiet"])
    assert (done.exit_code, done.output) == (0, "")


def refused(arguments: list[str]) -> str:
    """The first line of what a command says that must be refused."""
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    return done.stderr.splitlines()[0]


@pytest.mark.parametrize(("good", "bad", "place"), EDITS, ids=[edit[1] or "nothing" for edit in EDITS])
def test_a_bad_scenario_is_refused_at_its_place(good: str, bad: str, place: str) -> None:
    assert SCENARIO.count(good) == 1
    Path("s.yaml").write_text(SCENARIO.replace(good, bad))
    assert refused(["simulate", "s.yaml", "--out", "out"]).startswith(f"{place}: ")
    assert not Path("out").exists()


@pytest.mark.parametrize(("arguments", "place"), COMMANDS, ids=[" ".join(each[0]) for each in COMMANDS])
def test_a_bad_command_is_refused_at_its_place(arguments: list[str], place: str) -> None:
    assert refused(arguments).startswith(f"{place.replace('HERE', str(Path.cwd()))}: ")
