"""The selectors that the figures of regret compare, by the names that they are drawn with."""

from __future__ import annotations

from typing import Any

SELECTORS: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "round robin": {"name": "round_robin"},
    "greedy": {"name": "greedy"},
    "ε-greedy": {"name": "epsilon_greedy"},
    "UCB1": {"name": "ucb1"},
    "Thompson": {"name": "thompson"},
    "UCBSpec": {"name": "ucbspec"},
    "EXP3Spec": {"name": "exp3spec"},
    "HedgeSpec": {"name": "hedgespec"},
    "MetaSD-UCB": {"name": "metasd_ucb"},
    "SPIN": {"name": "spin"},
    "joint": {"name": "joint"},
    "planned": {"name": "planned"},
}
