"""Reading a scenario file and judging it: overrides, checks, variants of a scenario, the JSON Schema.

May import scenario, costs' sheets and the policies' registries. A check that concerns several keys belongs
in ``checks.py``.
"""

from spinsim.scenario_file.load import LoadedScenario, load, resolved_yaml, set_place
from spinsim.scenario_file.places import Places, read_text

__all__ = ["LoadedScenario", "Places", "load", "read_text", "resolved_yaml", "set_place"]
