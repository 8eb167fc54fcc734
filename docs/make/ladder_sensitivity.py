"""The reasoning ladder with acceptance a fifth lower and higher, simulated: its table in docs/regimes.md::

    python docs/make/ladder_sensitivity.py

The workload, the seeds and the GPUs are those of the prediction that ran live (docs/measurements/ladders).
The best fixed plans are chosen anew for each acceptance. It takes a minute.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from spinsim import api
from spinsim.lab.store import write_atomically
from spinsim.scenario_file.variants import override

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "regimes.md"
SCENARIO = ROOT / "scenarios" / "reasoning-two-gpus.yaml"
PREDICTION = ROOT / "docs" / "measurements" / "ladders" / "reasoning-h200-run4" / "prediction.json"
ACCEPTANCE = {"small": 0.56, "large": 0.72}
FACTORS = (0.8, 1.0, 1.2)
STEPS = ("vanilla", "+ decomposition", "+ pipeline", "best fixed serial", "best fixed", "replicas", "planned")


def main() -> None:
    """Simulate, and replace what stands between the marks."""
    predicted = json.loads(PREDICTION.read_text(encoding="utf-8"))
    runs = predicted["runs"]
    lines = ["| step | " + " | ".join(f"acceptance x {factor:g}" for factor in FACTORS) + " |"]
    lines.append("|---|" + "---|" * len(FACTORS))
    columns = []
    for factor in FACTORS:
        chances = {draft: round(factor * chance, 4) for draft, chance in ACCEPTANCE.items()}
        given = [*runs["overrides"], override("acceptance.probability", chances)]
        found = api.ladder(
            SCENARIO, set=given, steps=STEPS, seeds=len(predicted["seeds"]), tokens=runs["tokens"], workers=0
        )
        columns.append({step["name"]: step for step in found.summary["steps"]})
    for name in STEPS:
        lines.append(f"| {name} | " + " | ".join(_cell(column[name]) for column in columns) + " |")
    text = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- sensitivity: begin -->", "<!-- sensitivity: end -->"
    before, rest = text.split(begin)
    table = "\n".join(lines)
    write_atomically(PAGE, f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}")


def _cell(step: dict[str, Any]) -> str:
    """Tokens/s, the ratio to vanilla, and the plan that was chosen."""
    what = f", {step['what']}" if step["name"] in ("best fixed serial", "best fixed", "replicas") else ""
    return f"{step['goodput_tokens_per_s']:,.0f} ({step['ratio_to_vanilla']:.2f}{what})"


if __name__ == "__main__":
    main()
