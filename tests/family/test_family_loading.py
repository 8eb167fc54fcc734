"""A family member whose weights are not there, or not whole, is refused with the file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from spinsim.errors import InputError
from spinsim.family import family
from spinsim.family.tokenizer import VOCABULARY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(family.CHECKPOINTS / "tiny", tmp_path / "tiny")
    return tmp_path


def test_a_pointer_is_no_checkpoint(root: Path) -> None:
    (root / "tiny/model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="Git LFS pointer") as caught:
        family.load("tiny", dtype=torch.float32, root=root)
    assert caught.value.file == str(root / "tiny/model.safetensors")


def test_a_lost_head_is_not_drawn_at_random(root: Path) -> None:
    file = root / "tiny/model.safetensors"
    weights = load_file(file)
    del weights["lm_head.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks .*: lm_head\.weight"):
        family.load("tiny", dtype=torch.float32, root=root)
    assert family.load("tiny", dtype=torch.float32).lm_head.weight.shape[0] == VOCABULARY
