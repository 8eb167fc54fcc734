"""The links that proposals cross from the drafts' devices to the target's."""

from __future__ import annotations

from dataclasses import dataclass

from spinsim.costs.sheets.hardware import Hardware

ID_BYTES = 8  # token ids are 64-bit integers
PROBABILITY_BYTES = 4  # probabilities are fp32


@dataclass(frozen=True, slots=True)
class Link:
    """``latency_s`` of one copy, ``bandwidth`` in bytes/s, and what a proposed token weighs.

    Sampling needs the draft's whole distribution at each proposed token for the rejection rule;
    greedy verification needs the ids alone.
    """

    latency_s: float
    bandwidth: float
    bytes_per_token: int

    def bytes(self, tokens: int) -> int:
        """What ``tokens`` proposed tokens weigh."""
        return tokens * self.bytes_per_token

    def seconds(self, rows: int, tokens: int) -> float:
        """``tokens`` proposed tokens in all, over ``rows`` requests; nothing to send takes no time."""
        return self.latency_s + self.bytes(tokens) / self.bandwidth if rows and tokens else 0.0


def link_between(source: Hardware, target: Hardware, vocab: int, sampling: bool) -> Link:
    """The slower end of the two decides. ``sampling``: probabilities over ``vocab`` travel as well."""
    return Link(
        latency_s=max(source.copy_latency_s, target.copy_latency_s),
        bandwidth=min(source.link_bandwidth, target.link_bandwidth),
        bytes_per_token=ID_BYTES + (vocab * PROBABILITY_BYTES if sampling else 0),
    )
