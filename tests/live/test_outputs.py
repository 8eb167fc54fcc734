"""outputs.parquet: what a live run was asked and answered, as tokens and text."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spinsim import api
from spinsim.errors import InputError
from spinsim.family.tokenizer import decode
from tests.live.checkpoints import save_checkpoint
from tests.live.test_run import scenario_file

OWN = Path(__file__).parents[2] / "scenarios" / "own-traffic.yaml"


def test_a_run_of_text_keeps_prompts_answers_and_their_text(tmp_path: Path) -> None:
    few = {"workload.source.limit": 5, "workload.arrivals": {"process": "at_once"}}
    run = api.run(OWN, tmp_path / "out", set=few, device="cpu")
    outputs = run.outputs
    assert outputs.request.tolist() == [0, 1, 2, 3, 4]
    assert [len(tokens) for tokens in outputs.tokens] == run.requests.output_tokens.tolist()
    asked = OWN.with_name("own-traffic.csv").read_text(encoding="utf-8")
    for row in outputs.itertuples():
        question = decode(row.prompt.tolist()).removeprefix("<|bos|><|ask|>").removesuffix("<|reply|>")
        assert question in asked
        assert decode(row.tokens.tolist()).removesuffix("<|eos|>") == row.text
        assert row.text
    assert "outputs.csv" in {path.name for path in api.tables(tmp_path / "out")}


def test_random_weights_say_nothing(tmp_path: Path) -> None:
    loaded = scenario_file(tmp_path)
    run = api.run(loaded.path, tmp_path / "out", set={"workload.requests": 2})
    assert run.outputs.text.isna().all()
    assert [len(tokens) for tokens in run.outputs.tokens] == run.requests.output_tokens.tolist()


def test_a_folder_without_a_tokenizer_has_tokens_alone(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "target")
    (tmp_path / "target" / "tokenizer.json").unlink(missing_ok=True)
    loaded = scenario_file(
        tmp_path,
        models={"target": {"shape": "target", "weights": "target", "dtype": "fp32"}},
        placement={"target": ["cpu"]},
        policies={"selector": {"name": "fixed", "draft": "none"}, "length": {"name": "none"}},
    )
    run = api.run(loaded.path, tmp_path / "out", set={"workload.requests": 2})
    assert run.outputs.text.isna().all()


def test_a_simulation_has_no_outputs(tmp_path: Path) -> None:
    simulated = api.simulate(OWN, set={"workload.source.limit": 2}, out=tmp_path / "out")
    with pytest.raises(InputError, match="generates no text"):
        _ = simulated.outputs
    assert not (tmp_path / "out" / "outputs.parquet").exists()
    assert pq.read_table(tmp_path / "out" / "requests.parquet").num_rows == 2
