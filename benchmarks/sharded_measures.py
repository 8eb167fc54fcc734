"""What is measured of a deployment before its cells run: a profile, and verifications beside their floor."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sharded_deployments import Part, Size
from benchmarks.sharded_results import Results
from spinsim.costs.for_scenario import models_on_devices
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.profile import Profile
from spinsim.costs.sheets.hardware import of_large_operators
from spinsim.errors import InputError
from spinsim.live.deployment import Deployment
from spinsim.profiling.probes import Probe
from spinsim.profiling.resumed import resumed
from spinsim.profiling.session import Session
from spinsim.profiling.timing import Effort
from spinsim.profiling.workplace import Workplace
from spinsim.scenario import PolicyChoice, Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.studies.profile import measure_fixed

CHARGED = ("fixed", "spin", "round_robin")  # selectors of cells, whose host time is measured
PROPOSED = 4  # tokens a row; a verification takes one more


def measure_profile(
    results: Results, part: Part, whole: LoadedScenario, deployment: Deployment, effort: Effort
) -> None:
    """The fixed points of a profile, written beside the results.

    What a profile of the same deployment there has already is not measured again. One of another deployment
    is renamed, and a new one begun.
    """
    with Workplace(whole.scenario, whole.base_dir, deployment) as place:
        begun = kept_profile(results.profile, place.empty_profile(), whole.scenario)
        first = next(iter(whole.scenario.models.drafts))
        selectors = {name: PolicyChoice(name=name) for name in CHARGED}
        selectors["fixed"] = PolicyChoice.model_validate({"name": "fixed", "draft": first})
        session = Session(begun, results.profile, effort, place.guess(), None)
        try:
            measure_fixed(session, place, part.packings, selectors)
        finally:
            session.write()


def kept_profile(path: Path, begun: Profile, scenario: Scenario) -> Profile:
    """The profile at ``path`` where it is of this deployment; else ``begun``, and the file is set aside."""
    if not path.exists():
        return begun
    try:
        known = resumed(path, begun, scenario)
    except InputError as error:
        aside = path.rename(path.with_name(f"other-{path.name}"))
        print(f"{error}; it is {aside.name} now, and a profile is measured anew", flush=True)
        return begun
    machines = [profile.versions.get("machine", "one that it does not name") for profile in (known, begun)]
    where = "this machine" if machines[0] == machines[1] else f"{machines[0]}, this machine is {machines[1]}"
    print(f"profile: goes on with {len(known.points)} points of {where}", flush=True)
    return known


def measure_floors(
    results: Results, whole: LoadedScenario, deployment: Deployment, size: Size, effort: Effort
) -> None:
    """Verifications of 5 tokens a row beside what bytes, flops and sums ask for.

    At what large operators reach of the peaks, 0.9 and 0.8; launches count nothing.
    """
    model = models_on_devices(whole.scenario, whole.base_dir)[0]
    hardware = of_large_operators(model.hardware)
    costs = PassCosts(model.shape, model.dtype, hardware, devices=len(model.devices), greedy=True)
    graphs = deployment.target.graphs
    with Workplace(whole.scenario, whole.base_dir, deployment) as place:
        for rows in (rows for rows in size.rows if rows <= place.batch):
            probe = Probe("verify", "", -1, rows, PROPOSED + 1, size.context, "ragged", graphs=graphs)
            shape = probe.shape
            floor = costs.body(int(shape.tokens)) + costs.output(int(shape.head))
            floor += costs.attention.seconds(shape.kv_tokens, shape.queries, shape.pairs)
            measured = place.bench.measure(probe, effort).seconds
            row = {"model": model.shape.name, "devices": len(model.devices), "rows": rows}
            results.add("floors", {**row, "seconds": measured, "floor_s": floor, "ratio": measured / floor})
