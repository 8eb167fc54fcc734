"""Weights that are not what the configuration says are refused before the run, with key and file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.errors import InputError
from spinsim.live.load import load_models
from tests.live.checkpoints import rewrite, save_checkpoint, serve, serving

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
QUANTISED = "quantised weights are not run"


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def sharded(folder: Path, *, lose: bool = False, pointer: bool = False) -> None:
    """The weights in two files and an index; one of them lost, or left as a pointer."""
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(weights)
    files = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, held in files.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in files.items() for name in held}}
    (folder / INDEX).write_text(json.dumps(index))
    if lose:
        (folder / "two.safetensors").unlink()
    if pointer:
        (folder / "two.safetensors").write_text(POINTER)


def shortened(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no head": (
        lambda f: changed(f, lambda w: w.pop("lm_head.weight")),
        WEIGHTS,
        r"lacks .*: lm_head\.weight;",
    ),
    "no layer": (
        lambda f: rewrite(f, CONFIG, num_hidden_layers=3),
        WEIGHTS,
        r"lacks .*: model\.layers\.2\.\S+, \S+, \S+ and 6 more",
    ),
    "a layer too many": (lambda f: rewrite(f, CONFIG, num_hidden_layers=1), WEIGHTS, "no use for: model"),
    "biases unasked for": (
        lambda f: changed(f, lambda w: w.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)})),
        WEIGHTS,
        r"no use for: model\.layers\.0\.self_attn\.q_proj\.bias",
    ),
    "another shape": (
        lambda f: rewrite(f, CONFIG, vocab_size=40),
        WEIGHTS,
        r"other shapes: lm_head\.weight 33x32 where the configuration says 40x32",
    ),
    "a pointer": (lambda f: (f / WEIGHTS).write_text(POINTER), WEIGHTS, "Git LFS pointer"),
    "a pointer among shards": (lambda f: sharded(f, pointer=True), "two.safetensors", "Git LFS pointer"),
    "a shard lost": (lambda f: sharded(f, lose=True), "two.safetensors", f"is not there; {INDEX} names it"),
    "a pointer for an index": (
        lambda f: (sharded(f), (f / INDEX).write_text(POINTER)),
        INDEX,
        "Git LFS pointer",
    ),
    "cut short": (shortened, WEIGHTS, "damaged or cut short"),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), WEIGHTS, "damaged or cut short"),
    "a page of HTML": (lambda f: (f / WEIGHTS).write_text("<!doctype html>" * 9), WEIGHTS, "damaged"),
    "fp8 by its config": (
        lambda f: rewrite(
            f, CONFIG, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}
        ),
        CONFIG,
        rf"quantization_config \(fp8\): {QUANTISED}",
    ),
    "4 bits by its config": (
        lambda f: rewrite(f, CONFIG, quantization_config={"quant_method": "awq", "bits": 4}),
        CONFIG,
        rf"quantization_config \(awq\): {QUANTISED}",
    ),
    "fp8 unsaid": (
        lambda f: changed(
            f, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].to(torch.float8_e4m3fn)})
        ),
        WEIGHTS,
        rf"lm_head\.weight is of F8_E4M3: {QUANTISED}",
    ),
    "integers unsaid": (
        lambda f: changed(f, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].to(torch.int8)})),
        WEIGHTS,
        rf"lm_head\.weight is of I8: {QUANTISED}",
    ),
    "a pointer for a tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(POINTER),
        "tokenizer.json",
        "Git LFS pointer",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("member", ["target", "draft"])
def test_refused_with_key_and_file(tmp_path: Path, member: str, damage: str) -> None:
    change, file, message = DAMAGES[damage]
    for name in ("target", "draft"):
        save_checkpoint(tmp_path / name)
    loaded = serving(tmp_path)  # its shapes are judged already; what is damaged later is the loader's to find
    change(tmp_path / member)
    with pytest.raises(InputError, match=message) as caught:
        load_models(loaded.scenario, loaded.base_dir)
    assert (
        caught.value.key
        == {"target": "models.target.weights", "draft": "models.drafts.draft.weights"}[member]
    )
    assert caught.value.file == str(tmp_path / member / file)


def test_one_line_and_exit_code_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("target", "draft"):
        save_checkpoint(tmp_path / name)
    changed(tmp_path / "target", lambda weights: weights.pop("lm_head.weight"))
    path = serving(tmp_path).path
    capfd.readouterr()
    result = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "out"), "-q"])
    assert result.exit_code == 2
    lines = (result.output + capfd.readouterr().err).strip().splitlines()
    assert len(lines) == 1  # transformers' own report is not beside it
    assert lines[0].startswith(f"{path}:")
    assert f": models.target.weights: {tmp_path}/target/{WEIGHTS}: lacks weights" in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [sharded, lambda f: rewrite(f, CONFIG, tie_word_embeddings=True)])
def test_whole_checkpoints_run(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """Shards, and a head that is another matrix: nothing is missing."""
    for name in ("target", "draft"):
        save_checkpoint(tmp_path / name)
    change(tmp_path / "target")
    serve(serving(tmp_path))


def test_a_tied_head_and_old_rotary_buffers_are_nothing_amiss(tmp_path: Path) -> None:
    for name in ("target", "draft"):
        save_checkpoint(tmp_path / name, tie_word_embeddings=True)
    rotary = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    changed(tmp_path / "target", lambda weights: weights.update(rotary))
    assert "lm_head.weight" not in load_file(tmp_path / "target" / WEIGHTS)
    serve(serving(tmp_path))


def test_a_tokenizer_that_does_not_load_is_refused(tmp_path: Path) -> None:
    for name in ("target", "draft"):
        save_checkpoint(tmp_path / name)
        (tmp_path / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    with pytest.raises(InputError, match="no tokenizer that loads") as caught:
        serve(serving(tmp_path))
    assert caught.value.key == "models.target.weights"
