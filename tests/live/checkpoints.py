"""Tiny checkpoints in folders, with a tokenizer of single characters, and scenarios that serve text."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from spinsim.live.deployment import deploy
from spinsim.live.live_run import Ran, run_scenario
from spinsim.live.prompts import Prompted, materialise
from spinsim.scenario_file import LoadedScenario, load
from spinsim.workload.for_scenario import build_workload

LETTERS = "abcdefghijklmnopqrstuvwxyz .,?"
TOKENS = {token: i for i, token in enumerate(("<s>", "</s>", "<eot>", *LETTERS))}
TEXTS = ("what is a queue?", "b", "say it again. again.", "zz top", "list words that rhyme with pair")


def save_checkpoint(
    folder: Path, *, seed: int = 1, rows: int = len(TOKENS), like: Path | None = None, **config: Any
) -> Path:
    """A random LLaMA of ``rows`` rows; ``like``: another one's weights, disturbed, where shapes agree."""
    keys: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "tie_word_embeddings": False,
    }
    shape = LlamaConfig(vocab_size=rows, **(keys | config))
    torch.manual_seed(seed)
    model = LlamaForCausalLM(shape)
    if like is not None:
        known = dict(AutoModelForCausalLM.from_pretrained(like, dtype=torch.float32).named_parameters())
        with torch.no_grad():
            for name, weight in model.named_parameters():
                own = known[name][: weight.shape[0]]
                weight[: own.shape[0]] = own + 0.05 * own.std() * torch.randn_like(own)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path, tokens: dict[str, int] = TOKENS) -> None:
    tokenizer = Tokenizer(models.WordLevel(vocab=tokens, unk_token="<eot>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def rewrite(folder: Path, file: str, **keys: Any) -> None:
    """Change keys of a checkpoint's JSON file; None drops one."""
    path = folder / file
    data = json.loads(path.read_text()) if path.exists() else {}
    data.pop("_from_model_config", None)
    data |= keys
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def serving(folder: Path, *overrides: str, drafts: tuple[str, ...] = ("draft",)) -> LoadedScenario:
    """A scenario that answers TEXTS with the checkpoints ``target`` and ``drafts`` of ``folder``."""
    with (folder / "prompts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("prompt",), *((text,) for text in TEXTS)])

    def model(name: str) -> dict[str, str]:
        return {"shape": name, "weights": name, "dtype": "fp32"}

    content = {
        "name": "text",
        "seed": 3,
        "workload": {
            "source": {"format": "prompt_csv", "path": "prompts.csv"},
            "arrivals": {"process": "closed", "concurrency": 3},
            "output_tokens": {"distribution": "fixed", "value": 24},
        },
        "models": {"target": model("target"), "drafts": {name: model(name) for name in drafts}},
        "devices": {"cpu": {"hardware": "cpu"}},
        "placement": {"target": ["cpu"], "drafts": dict.fromkeys(drafts, "cpu")},
        "costs": {"model": "roofline"},
        "acceptance": {"model": "constant", "probability": 0.6},
        "policies": {"selector": {"name": "random"}, "length": {"name": "fixed", "tokens": 4}},
        "limits": {"batch": 4, "context_tokens": 96, "max_length": 4},
    }
    path = folder / "text.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load(path, overrides)


def serve(loaded: LoadedScenario) -> tuple[Ran, Prompted]:
    """Run it on real models; every request must complete."""
    deployment = deploy(loaded.scenario, loaded.base_dir)
    workload = build_workload(loaded.scenario, loaded.base_dir)
    prompted = materialise(loaded.scenario, workload, deployment.models.target)
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment, prompted=prompted)
    assert ran.error is None
    assert {record.status for record in ran.records.requests.values()} == {"completed"}
    return ran, prompted


def generated(loaded: LoadedScenario, prompted: Prompted) -> dict[int, list[int]]:
    """What transformers' generate says, greedily, by its own reading of the target's folder."""
    folder = loaded.base_dir / loaded.scenario.models.target.weights
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    outputs = {}
    for request in prompted.workload.requests:
        ids = torch.tensor([list(prompted.prompts[request.id])])
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.output_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        outputs[request.id] = made[0, ids.shape[1] :].tolist()
    return outputs
