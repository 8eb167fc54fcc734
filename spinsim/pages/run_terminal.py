"""The summary as a page on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spinsim.costs.base import LABELS
from spinsim.results.few import few_requests
from spinsim.results.metrics import Metric, metric, shown_in, value

WIDTH = 100
PREFILL_SHOWS = 0.25  # decoding alone is told where it differs from goodput by so much
LATENCIES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "end to end", "queue_s": "queueing"}
Summary = Mapping[str, Any]
NOTHING = "\N{EN DASH}"  # where there is no value


def number(value: float | None, digits: int = 3) -> str:
    """About ``digits`` significant digits, thousands set apart; a dash for nothing."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    decimals = digits - 1
    while size < 1 and decimals < 6:
        size *= 10
        decimals += 1
    while size >= 10 and decimals > 0:
        size /= 10
        decimals -= 1
    return f"{value:,.{decimals}f}"


def duration(value: float | None) -> str:
    """Seconds in the unit that suits them."""
    if value is None:
        return NOTHING
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if abs(value) * factor >= 1:
            return f"{number(value * factor)} {unit}"
    return f"{number(value * 1e6)} us" if value else "0 s"


def percent(value: float | None) -> str:
    """A share in percent, with one decimal below 10 % and where it would wrongly read 100 %."""
    if value is None:
        return NOTHING
    if 0.0995 <= value < 0.995 or value in (0, 1):
        return f"{100 * value:.0f} %"
    return f"{min(100 * value, 99.9):.1f} %" if 0.995 <= value < 1 else f"{100 * value:.1f} %"


def told(metric: Metric, amount: float | None) -> str:
    """A metric's value with the unit that suits it; rates are left without theirs."""
    if metric.unit == "s":
        return duration(amount)
    return percent(amount) if metric.unit == "share" else number(amount, 4)


class _Details(Formatter):
    """Format strings in which ``{key:duration}`` is a time in the unit that suits it."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """As ``format``, and for ``duration`` as :func:`duration`."""
        return duration(value) if format_spec == "duration" else str(format(value, format_spec))


def heading(metric: Metric) -> str:
    """A metric's name above values of :func:`told`, with the unit that those leave out."""
    return metric.label if metric.unit == "s" else metric.title


def detail(metric: Metric, summary: Summary) -> str:
    """The small print below a metric: what it was computed from, or else what it means."""
    return _Details().vformat(metric.detail, (), summary) if metric.detail else metric.definition


def tiles(summary: Summary) -> list[Metric]:
    """The metrics that a run is introduced by: those registered for it that its summary has."""
    return [m for m in shown_in("tiles") if not m.section or m.section in summary]


def print_summary(summary: Summary, console: Console) -> None:
    """One page: headline, latency, drafts, verification, devices, requests, costs."""
    parts: list[RenderableType] = [_headline(summary), "", _latency(summary), "", _drafts(summary), ""]
    parts.append(_facts(summary))
    if "intervals" in summary:
        parts += ["", _intervals(summary["intervals"])]
    print_uncut(console, *parts)


def print_uncut(console: Console, *parts: RenderableType, above: int = 1, below: int = 1) -> None:
    """Print within ``WIDTH`` columns, or the terminal's, but never cut a figure.

    Texts and names are folded; a table whose figures need more columns gets them, and the terminal breaks its
    lines.
    """
    given = console.width
    plenty = console.options.update(width=10 * WIDTH)
    needed = max((console.measure(part, options=plenty).minimum for part in parts), default=0)
    width = max(min(WIDTH, given), needed + 2)
    try:
        console.width = max(width, given)  # it prints nothing wider than it is
        console.print(Padding(Group(*parts), (above, 1, below, 1)), width=width)
    finally:
        console.width = given


def _headline(s: Summary) -> RenderableType:
    title = Text.assemble((s["scenario"], "bold"), (f"   {s['mode']}, seed {s['seed']}", "dim"))
    first, *others = tiles(s)
    headline = Text.assemble(
        (told(first, value(s, first)), "bold green"),
        (f" {first.unit} {first.label}", "green"),
        (f"   {detail(first, s)}", "dim"),
    )
    beside = [f"{m.label} {told(m, value(s, m))}" for m in others if not m.path.startswith("slo.")]
    lines: list[RenderableType] = [title, headline, Text("   ".join(beside))]
    if "slo" in s:
        lines.append(_slo(s["slo"]))
    lines.append(Text(s["window"]["note"], style="dim"))
    if few := few_requests(s):
        lines.append(Text(few, style="yellow"))
    if s.get("interrupted"):
        lines.append(Text(f"partial results: {s['interrupted']}", style="bold red"))
    return Group(*lines)


def _intervals(given: Summary) -> RenderableType:
    """Where 90 % of the runs with other seeds and other noise lie, and what is not in that."""
    table = _table(interval_head(given), "low", "median", "high")
    for row in interval_rows(given):
        table.add_row(*row)
    parts: list[RenderableType] = [table]
    if hosts := other_hosts(given):
        parts.append(Text(f"noise: {hosts}", style="dim"))
    if given.get("note"):
        parts.append(Text(given["note"], style="yellow"))
    return Group(*parts)


def other_hosts(intervals: Summary) -> str:
    """Whose other processes, days and hosts are among the noise, and of what sheets answer; empty where no
    host is."""
    sources = intervals.get("sources", {})
    hosts = max(sources.get("hosts", {}).values(), default=0)
    if not hosts:
        return ""
    repeats = max(sources.get("repeats", {}).values(), default=0)
    own = f", and {repeats} repeats of the profile here" if repeats else ""
    beyond = ", ".join(f"{percent(share)} of {kind}" for kind, share in sources.get("beyond", {}).items())
    sheets = f"; beyond the profile, where sheets answer and intervals are wider: {beyond}" if beyond else ""
    return f"another process, day and host as {hosts} hosts showed{own}{sheets}"


def interval_head(given: Summary) -> str:
    """What the rows of :func:`interval_rows` are about."""
    runs = f"{given['runs']} runs with other seeds and noise"
    if given.get("chance", given["level"]) < given["level"]:
        return f"least and most of {runs}, which hold {held(given)} of further ones"
    return f"{held(given)} of {runs}"


def held(given: Summary) -> str:
    """The share of further runs that a summary's intervals hold; files of old do not tell it of few runs."""
    return percent(given.get("chance", given["level"]))


def interval_rows(given: Summary) -> list[tuple[str, str, str, str]]:
    """(metric, low, median, high) of a summary's intervals, ready to print."""
    rows = []
    for path, row in given["metrics"].items():
        known = metric(path)
        low, median, high = (told(known, row[end]) for end in ("low", "median", "high"))
        rows.append((heading(known), low, median, high))
    return rows


def _slo(slo: Summary) -> Text:
    limits = [
        f"{name} <= {duration(slo[key])}" for key, name in LATENCIES.items() if slo.get(key) is not None
    ]
    return Text.assemble(
        (f"{percent(slo['attainment'])}", "bold"),
        f" of requests within {' and '.join(limits)}",
        (
            f"   {slo['requests_met']:,} of {slo['requests_judged']:,}; "
            f"{number(slo['goodput_requests_per_s'])} such requests/s",
            "dim",
        ),
    )


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(first, style="bold", min_width=10, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _latency(s: Summary) -> Table:
    table = _table("latency", "mean", "p50", "p90", "p99", "requests")
    for key, name in LATENCIES.items():
        row = s["latency"].get(key)
        if row is not None:
            values = [duration(row[column]) for column in ("mean", "p50", "p90", "p99")]
            table.add_row(name, *values, f"{row['count']:,}")
    return table


def _drafts(s: Summary) -> Table:
    spec = s["speculation"]
    table = _table("draft", "share", "rounds", "drafted", "accepted", "rate", "length", "drafting")
    for name, row in spec["per_draft"].items():
        table.add_row(
            name,
            percent(row["share"]),
            f"{row['rounds']:,}",
            f"{row['drafted']:,}",
            f"{row['accepted']:,}",
            percent(row["acceptance_rate"]),
            number(row["acceptance_length"]),
            duration(row["draft_time_s"]),
        )
    if len(spec["per_draft"]) > 1:
        drafted, accepted = s["tokens"]["drafted"], s["tokens"]["accepted"]
        table.add_section()
        table.add_row(
            "all",
            "",
            f"{spec['rounds']:,}",
            f"{drafted:,}",
            f"{accepted:,}",
            percent(spec["acceptance_rate"]),
            number(spec["acceptance_length"]),
            duration(sum(row["draft_time_s"] for row in spec["per_draft"].values())),
        )
    return table


def _decoding_alone(s: Summary) -> str:
    """The rate without prefill beside goodput, where it is another one; else empty."""
    goodput, alone = s["goodput_tokens_per_s"], s.get("decode_tokens_per_s")
    if not goodput or not alone or abs(alone / goodput - 1) < PREFILL_SHOWS:
        return ""
    return f"{number(alone, 4)} tokens/s while no prompt was being read"


_ACCEPTANCE = {
    "synthetic": "synthetic acceptance",
    "trace": "recorded acceptance",
    "models": "acceptance by the models themselves",
}


def acceptance(s: Summary) -> str:
    """Where acceptances came from; a live run that was given them says so."""
    said = s["acceptance"]
    source = _ACCEPTANCE.get(said["source"], "")
    given = said.get("decided_by") == "field"
    return f"{source}, given to real kernels: no text, and nothing lossless" if given else source


def lost_rows(s: Summary) -> str:
    """``4 of 15 rows read; 11 malformed, the first share.json:3: ...``; empty where no row was lost."""
    workload = s.get("workload") or {}
    lost = workload.get("malformed_rows", 0)
    if not lost:
        return ""
    rest = _without_folder(workload["first"][0])
    read = workload.get("rows_read")
    said = f"{read:,} of {read + lost:,} rows read; " if read is not None else ""
    return f"{said}{lost:,} malformed, the first {rest}"


def _without_folder(place: str) -> str:
    """``file:line: problem`` without the folders of ``file``; a problem may hold slashes, too."""
    file, colon, rest = place.partition(":")
    return file.rpartition("/")[2] + colon + rest


def moved_clocks(s: Summary) -> str:
    """GPUs whose clock moved while a live run was at work, with how far; empty where none did."""
    clocks = s.get("clocks") or {}
    if not clocks.get("moved"):
        return ""
    ranges = (
        f"GPU {gpu['index']} {gpu['sm_mhz']['low']:,} to {gpu['sm_mhz']['high']:,} MHz"
        for gpu in clocks["gpus"]
    )
    return f"they moved during the run: {', '.join(ranges)}; its times are of no one clock"


def short_of_cpus(s: Summary, what: str = "the run") -> str:
    """That a live run's threads waited for a CPU; empty where they did not. ``what`` it was that took the
    time."""
    cpus = s.get("cpus") or {}
    if not cpus.get("short"):
        return ""
    waited = f"a thread waited {percent(cpus['waited_fraction'])} of {what} for one of {cpus['usable']}"
    return f"{waited}: others had them, and times are of a shared host"


def _facts(s: Summary) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim", min_width=12)
    table.add_column(overflow="fold")
    spec, verify, requests = s["speculation"], s["verification"], s["requests"]
    table.add_row(
        "speculation", f"{spec['switches']:,} draft switches, {spec['catch_up_tokens']:,} tokens caught up"
    )
    table.add_row(
        "verification",
        f"{percent(verify['padding_fraction'])} padding "
        f"({verify['kv_tokens']:,} of {verify['padded_kv_tokens']:,} KV tokens real)",
    )
    if alone := _decoding_alone(s):
        table.add_row("decoding", alone)
    busy = "   ".join(f"{name} {percent(d['busy_fraction'])}" for name, d in s["devices"].items())
    table.add_row("devices busy", busy)
    if held := s.get("held_back"):
        table.add_row("held back", Text(held["text"]))
    for device, why in (s.get("other_hardware") or {}).items():
        table.add_row("hardware", f"{device} is called {why} would be right")
    if elsewhere := s.get("profile_elsewhere"):
        table.add_row("profile", Text(elsewhere))
    if moved := moved_clocks(s):
        table.add_row("clocks", moved)
    if short := short_of_cpus(s):
        table.add_row("CPUs", short)
    for key, why in (s.get("not_read") or {}).items():
        table.add_row("not read", f"{key}: {why}")
    states = ("completed", "rejected", "preempted", "cancelled", "unfinished")
    counts = [f"{requests[state]:,} {state}" for state in states if requests.get(state)]
    table.add_row("requests", f"{requests['submitted']:,} submitted: {', '.join(counts) or 'none ended'}")
    if lost := lost_rows(s):
        table.add_row("workload", Text(lost))
    shares = [f"{percent(s['costs'][label])} {label}" for label in LABELS if s["costs"].get(label)]
    table.add_row("costs", ", ".join(shares) or "nothing was predicted")
    if odd := s.get("never_compared"):
        table.add_row("", Text(f"never compared with a machine: {'; '.join(odd)}"))
    given = s["acceptance"].get("decided_by") == "field"
    table.add_row("acceptance", acceptance(s) if given else f"{s['acceptance']['source']}")
    return table
