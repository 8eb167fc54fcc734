"""A folder that `spinsim run` loads from a GGUF file, and a small draft cut out of any such folder.

    python docs/examples/real_model.py folder MODEL.gguf models/target
    python docs/examples/real_model.py draft models/target models/draft --layers 4

Reading GGUF needs the packages ``gguf`` and ``accelerate`` beside spinsim's extra ``live``. Both write fp32,
in which a live run gives the tokens of ``generate``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def folder(gguf: Path, out: Path) -> None:
    """Weights and tokenizer of a GGUF file, dequantised, as a folder of transformers."""
    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model.hf_quantizer = None  # the weights are plain now
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)


def draft(target: Path, out: Path, layers: int) -> None:
    """The first ``layers`` of the target's layers, with its embedding, last norm and head.

    It has the target's vocabulary and proposes something. A draft that was trained proposes better.
    """
    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    model.model.layers = model.model.layers[:layers]
    model.config.num_hidden_layers = layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:layers]
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(target).save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("make", choices=["folder", "draft"])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    given = parser.parse_args()
    if given.make == "folder":
        folder(given.source, given.out)
    else:
        draft(given.source, given.out, given.layers)
