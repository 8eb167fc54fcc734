"""Checkpoints as they ship: bf16 safetensors, a manifest with checksums, and parts of a tar."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spinsim.family import tokenizer
from spinsim.family.family import MEMBERS, Member

MANIFEST = "manifest.json"
FACTS = "training.json"  # beside each member's weights until the manifest gathers them


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_member(root: Path, member: Member, model: Any, facts: Mapping[str, Any]) -> None:
    """``root/<name>/``: model.safetensors in bf16, config.json, and the facts of its training."""
    import torch
    from safetensors.torch import save_file

    folder = root / member.name
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
    }
    config = type(model.config).from_dict({**model.config.to_dict(), "dtype": "bfloat16"})
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(dict(facts), indent=1) + "\n", encoding="utf-8")
    fresh = folder / "model.safetensors.new"
    save_file(weights, fresh, metadata={"format": "pt"})
    fresh.chmod(0o644)  # safetensors writes for the owner alone
    fresh.replace(folder / "model.safetensors")  # last: its presence means that all is written


def write_manifest(root: Path, command: str) -> Path:
    """Gather what is known of every member found under ``root``; the tokenizer is copied beside."""
    vocabulary = root / "tokenizer.json"
    if vocabulary.resolve() != tokenizer.SHIPPED.resolve():
        vocabulary.write_bytes(tokenizer.SHIPPED.read_bytes())
    members = {}
    for name, member in MEMBERS.items():
        weights = root / name / "model.safetensors"
        if not weights.is_file():
            continue
        facts = json.loads((root / name / FACTS).read_text(encoding="utf-8"))
        members[name] = {
            **asdict(member),
            "bytes": weights.stat().st_size,
            "sha256": sha256(weights),
            "training": facts,
        }
    manifest = {
        "family": "spinsim procedural family",
        "command": command,
        "tokenizer_sha256": sha256(vocabulary),
        "bytes": sum(int(entry["bytes"]) for entry in members.values()),
        "members": members,
    }
    path = root / MANIFEST
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return path


def pack(root: Path, out: Path, part_bytes: int) -> list[Path]:
    """The family as ``family.tar.00``, ``.01``, ...; ``cat family.tar.* | tar x -C FOLDER`` unpacks it."""
    out.mkdir(parents=True, exist_ok=True)
    whole = out / "family.tar"
    with tarfile.open(whole, "w") as archive:
        members = [*sorted(root.glob("*/*.json")), *sorted(root.glob("*/*.safetensors"))]
        for path in (root / MANIFEST, root / "tokenizer.json", *members):
            archive.add(path, arcname=str(path.relative_to(root)))
    parts: list[Path] = []
    with whole.open("rb") as file:
        while block := file.read(part_bytes):
            part = out / f"family.tar.{len(parts):02d}"
            part.write_bytes(block)
            parts.append(part)
    whole.unlink()
    return parts
