"""A widened model part by part, so that several devices can hold it and none has ever the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from spinsim.costs.sheets.shapes import ModelShape
from spinsim.family.llama_modules import empty_llama, fill_weight
from spinsim.family.widen import SPREAD, Small, Writer, read_small, wide_config
from spinsim.runner.sharded.outline import Outline, outlined
from spinsim.runner.sharded.shape import Share, cut


class PartByPart:
    """The widened model of :func:`widen`, of which one part at a time is on a device.

    ``config`` and ``settings`` (for generation; None where the folder has none) are known at once.
    """

    def __init__(self, folder: Path, shape: ModelShape, dtype: torch.dtype, seed: int) -> None:
        config, self.settings, self._state = read_small(folder)
        self._small = Small.of(config)
        self.config = wide_config(folder, config, self._small, shape, dtype, seed)
        self._shape, self._dtype, self._seed = shape, dtype, seed
        self._writer: Writer | None = None
        self._part = ""

    @torch.no_grad()
    def weight(self, name: str, device: torch.device) -> torch.Tensor | None:
        """A weight, whole; None where there is none of this name. Parts are asked for in order."""
        if self._writer is None:
            with torch.device("meta"):
                module = empty_llama(self.config, self._dtype, "meta")
            self._writer = Writer(self._state, self._small, self._shape, module, device, self._seed)
        model = self._writer.model
        known = {known: index for index, (known, _) in enumerate(model.named_parameters())}
        if name not in known:
            return None
        part = _part_of(name)
        if part != self._part:
            self._write(part, known)
        return model.get_parameter(name)  # type: ignore[no-any-return]

    def _write(self, part: str, known: Mapping[str, int]) -> None:
        """Make a part in place of the one before it."""
        writer = self._writer
        assert writer is not None
        for here, device in ((self._part, torch.device("meta")), (part, writer.device)):
            for name in known:
                if here and _part_of(name) == here:
                    owner, _, last = name.rpartition(".")
                    empty = torch.empty_like(writer.model.get_parameter(name), device=device)
                    setattr(writer.model.get_submodule(owner), last, torch.nn.Parameter(empty, False))
        for name, index in known.items():
            if _part_of(name) == part:
                fill_weight(writer.model.get_parameter(name), index, seed=self._seed, sd=SPREAD)
        self._part = part
        if part == "embeddings":
            writer.embeddings()
        elif part == "norm":
            writer.last_norm()
        else:
            writer.layer(int(part))


def _part_of(name: str) -> str:
    """The part that a weight is made with: embeddings and head, a layer by its number, or the last norm."""
    words = name.split(".")
    if words[1] == "layers":
        return words[2]
    return "norm" if words[1] == "norm" else "embeddings"


@dataclass
class Widened:
    """A :class:`~spinsim.runner.sharded.weights.Source`: a widened model, made where its share is held."""

    folder: Path
    shape: ModelShape
    dtype: torch.dtype
    seed: int
    _made: PartByPart | None = None

    def take(self, name: str, share: Share, dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
        """See :class:`~spinsim.runner.sharded.weights.Source`."""
        if self._made is None:
            self._made = PartByPart(self.folder, self.shape, self.dtype, self.seed)
        weight = self._made.weight(name, device)
        return None if weight is None else cut(weight, share.part(name)).to(dtype).clone()


def outline(folder: str, shape: ModelShape, *, dtype: torch.dtype, seed: int) -> Outline:
    """What :func:`widen` would make, for several devices. Raises InputError likewise."""
    made = PartByPart(Path(folder), shape, dtype, seed)
    found = outlined(made.config, folder, folder, Widened(Path(folder), shape, dtype, seed), dtype)
    if made.settings is not None:
        found.model.module.generation_config = made.settings
    return found
