"""``kind: model``: a smaller language model with weights and K/V of its own. The kind where none is named."""

from __future__ import annotations

from pathlib import Path

from spinsim.costs.for_scenario import executed_shape
from spinsim.drafters.base import Drafter
from spinsim.drafters.registry import MODEL, register
from spinsim.scenario import DraftSpec, Scenario


@register(MODEL)
class ModelDrafter(Drafter):
    """A model of the scenario's cost model, run by a model runner."""

    Keys = DraftSpec

    def parameters(self, scenario: Scenario, base_dir: Path) -> int:
        """Those of the shape that runs, which is what costs charge, too."""
        assert isinstance(self.spec, DraftSpec)
        return executed_shape(scenario, self.spec, self.device(scenario), base_dir).parameters()
