"""Costs from an engine's own benchmarks: a made-up server's are found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from spinsim import api
from spinsim.errors import InputError
from spinsim.studies.calibrate import chance
from tests.engines import bench_files as bench
from tests.engines.test_export import CHEAP

PLAIN = (1, 4, 16, 64)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    plain = [str(bench.serve(tmp_path, batch)) for batch in PLAIN]
    drafted = [
        str(bench.serve(tmp_path, batch, tokens)) for batch, tokens in ((1, 3), (16, 3), (4, 1), (64, 1))
    ]
    return [*plain, *drafted, bench.latency(tmp_path, 8), bench.latency(tmp_path, 32)]


def test_known_costs_are_found_again(files: list[str], tmp_path: Path) -> None:
    found = api.calibrate(files, metrics=bench.metrics(tmp_path), draft="eagle3").result
    for batch, tokens in ((2, 0), (32, 0), (8, 2), (48, 3)):
        context = bench.INPUT + bench.OUTPUT / 2
        costs = found.costs()
        target, draft = costs["target"], costs["drafts"]["eagle3"]
        seconds = target["base_s"] + target["token_s"] * batch * (tokens + 1)
        seconds += target["kv_token_s"] * batch * context
        drafting = draft["base_s"] + (draft["pass_s"] + draft["token_s"] * batch) * tokens
        seconds += drafting if tokens else 0
        assert seconds == pytest.approx(bench.step_s(batch, tokens), rel=1e-3)
    assert found.costs()["prefill"]["token_s"] == pytest.approx(bench.PREFILL_TOKEN, rel=1e-3)
    assert found.acceptance == pytest.approx(bench.CHANCE, abs=1e-4)
    assert max(found.held_out.values()) < 1e-3
    assert "held out: median error 0.0 %" in found.label


def test_one_number_of_tokens_does_not_make_longer_proposals_cheap(tmp_path: Path) -> None:
    files = [str(bench.serve(tmp_path, batch)) for batch in PLAIN]
    files += [str(bench.serve(tmp_path, batch, 3)) for batch in (1, 16)]
    found = api.calibrate(files).result
    draft = found.costs()["drafts"]["draft"]
    assert draft["base_s"] == 0
    assert 3 * draft["pass_s"] == pytest.approx(bench.DRAFT + 3 * bench.DRAFT_PASS, rel=0.02)
    assert any("with 3 tokens alone" in note for note in found.notes)


def test_a_benchmark_that_is_off_shows_in_the_held_out_error(tmp_path: Path) -> None:
    files = [str(bench.serve(tmp_path, batch)) for batch in (1, 4, 16, 32)]
    odd = bench.serve(tmp_path, 64, off=1.3)
    held_out = api.calibrate([*files, str(odd)]).result.held_out
    assert max(held_out, key=lambda name: held_out[name]) == odd.name
    assert held_out[odd.name] == pytest.approx(1 - 1 / 1.3, abs=0.03)


def test_the_counters_of_the_benchmarks_do_without_a_metrics_file(files: list[str]) -> None:
    assert api.calibrate(files).result.acceptance == pytest.approx(bench.CHANCE, abs=1e-3)


@pytest.mark.parametrize(("probability", "tokens"), [(0.0, 3), (0.3, 1), (0.7, 5), (1.0, 4)])
def test_a_probability_follows_from_the_acceptance_length(probability: float, tokens: int) -> None:
    length = sum(probability**i for i in range(1, tokens + 1))
    assert chance(length, tokens) == pytest.approx(probability, abs=1e-9)


def test_a_scenario_takes_the_fit(files: list[str], tmp_path: Path) -> None:
    base = dict(CHEAP)
    base["models"] = {
        "target": {"shape": "llama-3-8b", "weights": "org/target"},
        "drafts": {"eagle3": {"shape": "llama-3-117m", "weights": "org/head"}},
    }
    base["placement"] = {"target": ["gpu0"], "drafts": {"eagle3": "gpu0"}}
    base["costs"] = {"model": "constant", "verify_s": 0.01}
    base["acceptance"] = {"model": "constant", "probability": 0.5}
    path, out = tmp_path / "base.yaml", tmp_path / "calibrated.yaml"
    path.write_text(yaml.safe_dump(base), encoding="utf-8")
    done = api.calibrate(files, draft="eagle3", scenario=path, write=out)
    written = yaml.safe_load(out.read_text(encoding="utf-8"))
    assert written["costs"]["model"] == "linear"
    assert written["acceptance"]["probability"]["eagle3"] == pytest.approx(bench.CHANCE, abs=1e-3)
    assert out.read_text(encoding="utf-8").startswith(f"# {done.result.label}")
    assert api.simulate(out).summary["mode"] == "simulated"
    with pytest.raises(InputError, match="exists"):
        api.calibrate(files, draft="eagle3", scenario=path, write=out)
    with pytest.raises(InputError, match="benchmarks are of other alone"):
        api.calibrate(files, draft="other", scenario=path)


def test_without_a_scenario_the_sections_are_yaml(files: list[str]) -> None:
    sections = yaml.safe_load(api.calibrate(files, draft="d").text)
    assert sections.keys() == {"costs", "acceptance"}
    assert sections["costs"]["drafts"].keys() == {"d"}


def test_too_few_batches_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 batches without speculation"):
        api.calibrate([str(bench.serve(tmp_path, batch)) for batch in (1, 8)])


@pytest.mark.parametrize(
    ("text", "suffix", "says"),
    [
        ("no json", "", "not readable as JSON"),
        ("[]", "", "no JSON object"),
        ("{}", "", "neither mean_tpot_ms nor avg_latency"),
        ('{"avg_latency": 2.0}', "", "does not say its batch_size"),
        ('{"avg_latency": 2.0}', ":batch=x", "not allowed"),
        ('{"avg_latency": -1}', ":batch=1,input=2,output=3", "avg_latency is -1"),
        ('{"mean_tpot_ms": 3, "completed": 0}', "", "completed is 0"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str, suffix: str, says: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says) as caught:
        api.calibrate([f"{path}{suffix}"])
    assert caught.value.file


def test_metrics_without_speculation_are_refused(files: list[str], tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("vllm:num_requests_running 3\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no vllm:spec_decode_num_drafts"):
        api.calibrate(files, metrics=path)
    plain = [text for text in files if "-k0" in text]
    with pytest.raises(InputError, match="no benchmark speculates"):
        api.calibrate(plain, metrics=bench.metrics(tmp_path))
    assert json.loads(Path(plain[0]).read_text(encoding="utf-8"))["max_concurrency"] == 1
