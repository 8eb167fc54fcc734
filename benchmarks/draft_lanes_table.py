"""What ``python -m benchmarks.draft_lanes`` prints."""

from __future__ import annotations

from typing import Any

Numbers = dict[str, Any]


def shown(data: Numbers) -> str:
    """The tables, for people."""
    head = f"{'rows':>4s} {'drafts':12s} {'in turn':>10s} {'own lanes':>10s} {'ratio':>6s} {'law':>7s}"
    lines = [head] if "drafting" in data else []
    lines += [
        f"{row['rows']:4d} {row['drafts']:12s} {1e3 * row['in_turn_s']:7.2f} ms "
        f"{1e3 * row['side_by_side_s']:7.2f} ms {row['ratio']:6.2f} {100 * row['error']:+6.1f}%"
        for row in data.get("drafting", ())
    ]
    for busy, row in data.get("start", {}).items():
        lines.append(
            f"start beside a {busy} of {1e3 * row['beside_s']:.2f} ms: {1e3 * row['start_p50_s']:.3f} ms, "
            f"p90 {1e3 * row['start_p90_s']:.3f}; ended after {1e3 * row['end_p50_s']:.3f} ms"
        )
    if law := data.get("law"):
        constants = law["law"]
        lines.append(
            f"law: gap {constants['gap']:.3f}, crowd {constants['crowd']:.2f}, wait {constants['wait']:.2f} "
            f"beyond {1e6 * constants['short_s']:.2f} us a kernel, from {law['fitted']['pairs']} pairs and "
            f"{law['fitted']['larger']} larger subsets"
        )
        for name, row in [*law["errors"].items(), ("held out", law["held_out"])]:
            if row["count"]:
                lines.append(
                    f"  {name:30s} {row['count']:3d} times: mean {100 * row['mean']:.1f} %, p95 "
                    f"{100 * row['p95']:.1f} %, worst {100 * row['worst']:.1f} %, "
                    f"{100 * row['within_10_percent']:.0f} % within 10 %"
                )
    for row in data.get("live", ()):
        lines.append(
            f"live, {row['draft_lanes']:6s} lanes: {row['goodput_tokens_per_s']:7,.0f} tokens/s, "
            f"TPOT {1e3 * row['tpot_p50_s']:.2f} ms"
        )
    for priority, models in data.get("priority", {}).items():
        for model, ratios in models.items():
            target, draft = (ratios[name] for name in ("target", "draft"))
            lines.append(f"priority {priority}: {model} takes {draft:.2f} times as long, target {target:.2f}")
    return "\n".join(lines)
