"""``kind: model``: a smaller language model with weights and K/V of its own. The kind where none is named."""

from __future__ import annotations

from pathlib import Path

from spinsim.costs.sheets.shapes import shape_of
from spinsim.drafters.base import Drafter
from spinsim.drafters.registry import MODEL, register
from spinsim.scenario import DraftSpec, Scenario


@register(MODEL)
class ModelDrafter(Drafter):
    """A model of the scenario's cost model, run by a model runner."""

    Keys = DraftSpec

    def parameters(self, scenario: Scenario, base_dir: Path) -> int:
        """Those of its declared shape."""
        assert isinstance(self.spec, DraftSpec)
        return shape_of(self.spec.shape, base_dir).parameters()
