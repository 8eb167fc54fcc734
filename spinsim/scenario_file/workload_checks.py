"""Can this workload be made, and served within the limits? Each problem with its key."""

from __future__ import annotations

from collections.abc import Iterator

from spinsim.scenario import (
    MOST_REQUESTS,
    Distribution,
    Empirical,
    Fixed,
    Lognormal,
    Replay,
    Scenario,
    Section,
    Source,
    Uniform,
)
from spinsim.scenario.messages import Problem, one_of
from spinsim.scenario.yaml_places import KeyPath

TIMED_FORMATS = ("azure", "mooncake", "burstgpt")  # sources that record arrival times
OWN_FORMATS = ("csv", "jsonl")  # sources that do where a column says so
# Of one request with 128 output tokens, simulated with four proposed tokens a round on one core of a server.
REQUEST_S, REQUEST_BYTES = 0.5e-3, 5_000


def workload_problems(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong with arrivals, lengths and the source, and with lengths that no request may have."""
    yield from _workload(scenario)
    yield from _request_sizes(scenario)


def _workload(scenario: Scenario) -> Iterator[Problem]:
    workload, at = scenario.workload, ("workload",)
    source = workload.source
    if costly := _many(workload.requests or 0):
        yield Problem((*at, "requests"), costly)
    if source is None:
        for name in ("requests", "prompt_tokens", "output_tokens"):
            if getattr(workload, name) is None:
                yield Problem((*at, name), "missing; required when workload.source gives no requests")
    if isinstance(workload.arrivals, Replay):
        wrong = "replays no source" if source is None else f"replays a {source.format} source without times"
        if source is None or not _timed(source):
            yield Problem(
                (*at, "arrivals", "process"),
                f"{wrong}; replay needs a workload.source of format {one_of(TIMED_FORMATS)}, "
                "or of csv or jsonl with columns.arrival, else use poisson, gamma, closed or at_once",
            )
    if source is not None:
        here = (*at, "source")
        timed = _timed(source)
        yield from _columns(source, here)
        for name in ("start_s", "end_s"):
            if getattr(source, name) is not None and not timed:
                yield Problem(
                    (*here, name),
                    f"{source.format} records no times; slices by time need "
                    f"{one_of(TIMED_FORMATS)}, or csv or jsonl with columns.arrival, else use skip and limit",
                )
        if source.end_s is not None and source.end_s <= (source.start_s or 0.0):
            yield Problem(
                (*here, "end_s"), f"ends at {source.end_s:g} s, where it starts; must be above start_s"
            )
        for name in ("prompt_tokens", "output_tokens"):
            cap = f"max_{name}"
            if getattr(source, cap) is not None and getattr(workload, name) is not None:
                yield Problem(
                    (*here, cap),
                    f"has no effect, workload.{name} replaces the source's lengths; give one of the two",
                )
    for name in ("prompt_tokens", "output_tokens", "patience_s", "mid_flight"):
        distribution = getattr(workload, name)
        if distribution is not None:
            yield from _distribution(distribution, (*at, name), whole=name != "patience_s")


def _timed(source: Source) -> bool:
    """May it record times? Traffic of one's own does where it names a column for them, or names none."""
    own = source.format in OWN_FORMATS and (source.columns is None or source.columns.arrival is not None)
    return own or source.format in TIMED_FORMATS


def _columns(source: Source, here: KeyPath) -> Iterator[Problem]:
    """A mapping of columns belongs to traffic of one's own, and says how long prompts are."""
    columns = source.columns
    if columns is None:
        return
    if source.format not in OWN_FORMATS:
        yield Problem(
            (*here, "columns"),
            f"has no effect, {source.format} has columns of its own; leave it out, or format "
            f"{one_of(OWN_FORMATS)}",
        )
    if columns.prompt is None and columns.text is None:
        yield Problem((*here, "columns"), "says nothing of the prompts; give prompt, text or both")
    if columns.arrival is None and changed(columns, "arrival_unit"):
        yield Problem((*here, "columns", "arrival_unit"), "has no effect without arrival; give arrival, too")


def _many(requests: int) -> str:
    """What a run of so many requests costs, where that is more than anybody waits for; else empty."""
    if requests <= MOST_REQUESTS:
        return ""
    hours, gigabytes = requests * REQUEST_S / 3600, requests * REQUEST_BYTES / 1e9
    return (
        f"{requests:,} requests would take some {hours:,.0f} hours and {gigabytes:,.0f} GB of memory "
        f"(0.5 ms and 5 kB each, at 128 output tokens); at most {MOST_REQUESTS:,}"
    )


def _distribution(distribution: Distribution, at: KeyPath, *, whole: bool) -> Iterator[Problem]:
    if isinstance(distribution, Empirical):
        weights = distribution.weights
        if weights is not None and len(weights) != len(distribution.values):
            yield Problem(
                (*at, "weights"),
                f"{len(weights)} weights for {len(distribution.values)} values; as many weights as values",
            )
        elif weights is not None and not sum(weights) > 0:
            yield Problem((*at, "weights"), "all weights are 0; at least one must be above 0")
    if isinstance(distribution, Uniform | Lognormal):
        low, high = distribution.min, distribution.max
        if high is not None and high < low:
            yield Problem((*at, "max"), f"{high:g} is below min {low:g}; must be at least min")
    if whole:
        for path, value in _bounds(distribution, at):
            if value != int(value):
                yield Problem(path, f"{value:g} is not a whole number of tokens; whole numbers from 1")


def _bounds(distribution: Distribution, at: KeyPath) -> Iterator[tuple[KeyPath, float]]:
    """Every value that is a length itself, with its key."""
    match distribution:
        case Fixed(value=value):
            yield (*at, "value"), value
        case Empirical(values=values):
            for i, value in enumerate(values):
                yield (*at, "values", str(i)), value
        case _:
            yield (*at, "min"), distribution.min
            if distribution.max is not None:
                yield (*at, "max"), distribution.max


def _shortest(distribution: Distribution | None) -> float:
    """The shortest length the distribution can draw; 1 where a source decides."""
    return 1.0 if distribution is None else min(value for _, value in _bounds(distribution, ()))


def _request_sizes(scenario: Scenario) -> Iterator[Problem]:
    """Some request must fit the context, and the KV memory one request of the whole context."""
    workload, context = scenario.workload, scenario.limits.context_tokens
    needed = _shortest(workload.prompt_tokens) + _shortest(workload.mid_flight or workload.output_tokens)
    if needed > context:
        yield Problem(
            ("limits", "context_tokens"),
            f"{context} cannot hold the shortest request; at least {needed:g} (shortest prompt and output)",
        )
    for name in ("target_tokens", "draft_tokens"):
        tokens = getattr(scenario.kv, name)
        if tokens is not None and (shortage := scenario.kv.shortage(tokens, context)):
            yield Problem(("kv", name), shortage)


def changed(section: Section, key: str) -> bool:
    """Is ``key`` other than its default? A resolved scenario states defaults, too."""
    return bool(getattr(section, key) != type(section).model_fields[key].default)
