"""A soak: random arrivals, lengths and impatient clients at a load that the deployment can serve."""

from __future__ import annotations

from benchmarks.live_runs import Figures, Variant, held, measure
from benchmarks.policies import depth
from spinsim.live.deployment import Deployment

LOAD = 0.7  # of the rate that a closed loop reaches
PATIENCE = 5.0  # the longest, in mean end-to-end times of the closed loop; the shortest is 0.2 of one
OUTPUTS = (1, 96)


def soak(variant: Variant, deployment: Deployment, requests: int, batch: int) -> Figures:
    """Serve ``requests``, after a closed loop of ``batch`` clients has told the rate that can be served.

    ``lost``: requests that ended in no known way; ``held_before`` and ``held_after`` around the soak, the
    closed loop being over.
    """
    low, high = OUTPUTS
    common = [f"workload.output_tokens={{distribution: uniform, min: {low}, max: {high}}}", depth(2)]
    clients = [
        f"workload.requests={min(requests, 4 * batch)}",
        f"workload.arrivals={{process: closed, concurrency: {batch}}}",
    ]
    closed = measure(variant([*common, *clients]), deployment)
    served_per_s = closed["goodput_tokens_per_s"] / ((low + high) / 2)
    rate, mean_s = LOAD * served_per_s, closed["e2e_mean_s"]
    shortest_s, longest_s = 0.2 * mean_s, PATIENCE * mean_s
    open_loop = [
        f"workload.requests={requests}",
        f"workload.arrivals={{process: gamma, rate_per_s: {rate:.6g}, cv: 2}}",
        f"workload.patience_s={{distribution: uniform, min: {shortest_s:.6g}, max: {longest_s:.6g}}}",
    ]
    loaded = variant([*common, *open_loop])
    before = held(deployment)
    found = measure(loaded, deployment)
    counts = found["requests"]
    ended = ("completed", "cancelled", "rejected")
    return {
        "closed_loop_requests_per_s": served_per_s,
        "arrivals_per_s": rate,
        "load": LOAD,
        "longest_patience_s": longest_s,
        **{name: counts[name] for name in ended},
        "lost": requests - sum(counts[name] for name in ended),
        "held_before": before,
        "held_after": held(deployment),
        "run": found,
        "closed_loop": closed,
    }
