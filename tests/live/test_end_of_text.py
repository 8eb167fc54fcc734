"""A text ends at any of the target's end-of-text tokens, wherever its checkpoint names them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spinsim.errors import InputError
from spinsim.live.generation import end_of_text
from spinsim.studies.trace import trace
from tests.live.checkpoints import TEXTS, generated, rewrite, save_checkpoint, serve, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target and a draft, and a scenario that lets their texts run to their full lengths."""
    folder = tmp_path_factory.mktemp("pair")
    target = save_checkpoint(folder / "target", seed=1)
    save_checkpoint(folder / "draft", seed=2, like=target)
    return folder


@pytest.fixture(scope="module")
def said(pair: Path) -> list[list[int]]:
    """What the target says where nothing ends it."""
    ran, _ = serve(serving(pair, "sampling.stop_at_end_of_text=false"))
    return list(ran.outputs.values())


def ends_of(said: list[list[int]]) -> list[int]:
    """Two tokens that end different texts, neither at once."""
    first = said[0][6]
    return [first, next(text[9] for text in said if first not in text[:12])]


CONFIG, GENERATION = "config.json", "generation_config.json"


@pytest.mark.parametrize(
    ("in_config", "in_generation"),
    [
        pytest.param(lambda ends: ends, lambda ends: ends, id="lists in both files"),
        pytest.param(lambda ends: ends, None, id="a list in config.json alone"),
        pytest.param(lambda ends: 1, lambda ends: ends[::-1], id="generation_config.json overrides"),
        pytest.param(lambda ends: ends, lambda ends: ends[0], id="generation_config.json narrows"),
        pytest.param(lambda ends: ends, lambda ends: None, id="generation_config.json without any"),
        pytest.param(lambda ends: ends[1], None, id="one number"),
    ],
)
def test_texts_end_where_generate_ends_them(
    pair: Path, said: list[list[int]], tmp_path: Path, in_config: Any, in_generation: Any
) -> None:
    ends = ends_of(said)
    shutil.copytree(pair, tmp_path, dirs_exist_ok=True)
    target = tmp_path / "target"
    rewrite(target, CONFIG, eos_token_id=in_config(ends))
    if in_generation is None:
        (target / GENERATION).unlink()
    else:
        rewrite(target, GENERATION, eos_token_id=in_generation(ends))
    loaded = serving(tmp_path)
    ran, prompted = serve(loaded)
    assert ran.outputs == generated(loaded, prompted)
    early = any(len(text) < 24 for text in ran.outputs.values())
    assert early == bool(prompted.end_of_text & set(ends))


def test_a_recording_ends_there_too(pair: Path, said: list[list[int]], tmp_path: Path) -> None:
    shutil.copytree(pair, tmp_path, dirs_exist_ok=True)
    rewrite(tmp_path / "target", GENERATION, eos_token_id=ends_of(said))
    loaded = serving(tmp_path)
    ran, _ = serve(loaded)
    recorded = trace(loaded, tmp_path / "trace.npz").trace
    assert recorded.output_tokens().tolist() == [len(ran.outputs[i]) for i in range(len(TEXTS))]


@pytest.mark.parametrize(
    ("said", "tokens"), [(None, set()), (2, {2}), ([2, 5], {2, 5}), ([], set()), ((7,), {7})]
)
def test_a_number_a_list_or_nothing(said: Any, tokens: set[int]) -> None:
    assert end_of_text(SimpleNamespace(eos_token_id=said)) == tokens


@pytest.mark.parametrize("said", ["2", [2, "5"], 1.5, True])
def test_what_is_no_token_is_refused(said: Any) -> None:
    with pytest.raises(InputError, match=r"eos_token_id .* is no token") as caught:
        end_of_text(SimpleNamespace(eos_token_id=said), key="models.target.weights")
    assert caught.value.key == "models.target.weights"
