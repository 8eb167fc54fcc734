"""Remakes what the pages say of selectors: ``python docs/make/selector_tables.py``, some minutes.

Writes the marked blocks of README.md (the quickstart's output, the figure's command and gains) and of
policies.md (selectors on the quickstart and on the specialists), and the README's figure. Simulations are
kept below results/selectors and used again where scenario, data and code are what they were. A test fails
when the README's output or command is stale.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from spinsim import api
from spinsim.costs.profiled.profile import read_profile
from spinsim.pages.run_terminal import WIDTH, print_summary
from spinsim.results.summary import summarise
from spinsim.scenario import ProfileCosts
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.compare import Comparison, Effect

ROOT = Path(__file__).parents[2]
README, POLICIES = ROOT / "README.md", ROOT / "docs" / "policies.md"
FIGURE = ROOT / "docs" / "figures" / "selectors.svg"
KEPT = ROOT / "results" / "selectors"
SCENARIOS = ("quickstart", "specialists")
GOODPUT, TAIL = "goodput_tokens_per_s", "p99_tpot"
ONE = "tiny for everyone"
SHIPPED = "explore=0.1,share=prior,prior_weight=2"

# the first seeds, everything: label in the table -> what --policy takes
WIDE = {
    "no speculation": "selector=fixed,draft=none/length=none",
    "`fixed` tiny": "selector=fixed,draft=tiny",
    "`fixed` code": "selector=fixed,draft=code",
    "`fixed` maths": "selector=fixed,draft=maths",
    "`fixed` small": "selector=fixed,draft=small",
    "`fixed` large": "selector=fixed,draft=large",
    "`random`": "selector=random",
    f"**`spin` as shipped**: `{SHIPPED.replace(',', ', ').replace('=', ': ')}`": f"selector=spin,{SHIPPED}",
    "`spin` with its defaults (`explore: 0.5, share: none`)": "selector=spin",
    "`spin`, `explore: 0.1` without a prior": "selector=spin,explore=0.1",
    "`spin`, `share: prior` with `explore: 0.5`": "selector=spin,share=prior",
    "`spin` as shipped, `reward: tokens_per_round_second`":
        f"selector=spin,{SHIPPED},reward=tokens_per_round_second",
    "`greedy`": "selector=greedy",
    "`ucb1`, `reward: tokens_per_draft_second`": "selector=ucb1,reward=tokens_per_draft_second",
    "`thompson`, `reward: tokens_per_draft_second`": "selector=thompson,reward=tokens_per_draft_second",
    **{f"`{name}`, defaults": f"selector={name}" for name in (
        "ucb1", "thompson", "epsilon_greedy", "metasd_ucb", "hedgespec", "ucbspec", "exp3spec", "joint")},
    "`oracle`": "selector=oracle",
}  # fmt: skip
WIDE_SEEDS = (1, 10)
# fresh seeds: the README's figure and the tables of loads; the scenario as it stands is SPIN's selector
FEW = {
    "tiny for everyone": "selector=fixed,draft=tiny",
    "small for everyone": "selector=fixed,draft=small",
    "no speculation": "selector=fixed,draft=none/length=none",
    "random draft": "selector=random",
    "UCB1": "selector=ucb1,reward=tokens_per_draft_second",
    "joint": "selector=joint",
    "oracle": "selector=oracle",
}
FEW_SEEDS = (101, 20)
MANY_CLIENTS = ("workload.arrivals={process: closed, concurrency: 32}", "limits.batch=32")
LOADS = {
    ("quickstart", "8 clients"): (),
    ("quickstart", "32 clients, 256 requests"): (*MANY_CLIENTS, "workload.requests=256"),
    ("specialists", "8 clients"): (),
    ("specialists", "32 clients"): MANY_CLIENTS,
}


@dataclass(frozen=True)
class Run:
    """A ``spinsim compare`` and where its folder is."""

    scenario: str
    policies: tuple[str, ...]
    seeds: tuple[int, int]
    baseline: str
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """One for every run, so that each goes on where it was."""
        load = "-32" if self.overrides else ""
        return KEPT / f"{self.scenario}-{self.seeds[0]}{load}"

    @property
    def command(self) -> str:
        """What gives the same on the command line."""
        first, count = self.seeds
        words = [f"spinsim compare scenarios/{self.scenario}.yaml --seed {first} --seeds {count}"]
        words += [f"--metric {GOODPUT} --metric {TAIL}", f"--baseline {_quoted(self.baseline)}"]
        words += [f"--set {_quoted(text)}" for text in self.overrides]
        words += [f"--policy {_quoted(text)}" for text in self.policies]
        lines = [""]
        for word in words:
            if len(lines[-1]) + len(word) > 105:
                lines.append("")
            lines[-1] += f" {word}" if lines[-1] else word
        return "    " + " \\\n        ".join(lines)

    def __call__(self) -> Comparison:
        """Run it, or what is missing of it."""
        return api.compare(
            ROOT / "scenarios" / f"{self.scenario}.yaml",
            self.policies,
            set=self.overrides,
            seed=self.seeds[0],
            seeds=self.seeds[1],
            metrics=(GOODPUT, TAIL),
            baseline=self.baseline,
            out=self.folder,
            resume=True,
        ).result


def wide(scenario: str) -> Run:
    """Every selector, on the seeds that its parameters were looked at with."""
    return Run(scenario, tuple(WIDE.values()), WIDE_SEEDS, WIDE["`fixed` tiny"])


def few(scenario: str, overrides: Sequence[str] = ()) -> Run:
    """A few of them on fresh seeds."""
    policies = tuple(f"{name}:{text}" for name, text in FEW.items())
    return Run(scenario, policies, FEW_SEEDS, ONE, tuple(overrides))


def output() -> str:
    """What ``spinsim simulate scenarios/quickstart.yaml`` prints, as a block of the README."""
    loaded = load(ROOT / "scenarios" / "quickstart.yaml")
    done = simulate_scenario(loaded.scenario, loaded.base_dir)
    summary = summarise(
        done.records, loaded.scenario, mode="simulated", acceptance_source=done.acceptance_source
    )
    drawn = io.StringIO()
    print_summary(summary, Console(file=drawn, width=WIDTH))
    lines = "\n".join(line.rstrip() for line in drawn.getvalue().splitlines()).strip("\n")
    return f"```\n{lines}\n```"


def every_selector() -> str:
    """A row a selector, two columns a scenario."""
    found = {name: wide(name)() for name in SCENARIOS}
    head = "| selector | " + " | ".join(f"{name}, tokens/s | against `tiny`" for name in SCENARIOS) + " |"
    rows = [head, "|---|" + "---|---|" * len(SCENARIOS)]
    for label, policy in WIDE.items():
        cells = []
        for name in SCENARIOS:
            effect = found[name].effects[policy][0]
            cells += [f"{effect.mean.estimate:,.0f}", _gain(effect)]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", wide("quickstart").command, "    # and scenarios/specialists.yaml"])


def loads() -> str:
    """A row a scenario and load: one draft, SPIN's selector, joint and the oracle, on fresh seeds."""
    columns = ("small for everyone", "", "joint", "oracle")  # "": the scenario as it stands
    head = "| `small` for everyone | `spin` as shipped | `joint`, defaults | `oracle` |\n"
    head += "|---" * 6 + "|"
    goodput = [f"| goodput | `tiny` for everyone {head}"]
    tails = [f"| p99 of TPOT | `tiny` for everyone {head}"]
    for (scenario, clients), overrides in LOADS.items():
        effects = few(scenario, overrides)().effects
        chosen = [effects[name or scenario] for name in columns]
        first, last = effects[ONE]
        start = f"| {scenario}, {clients} |"
        gains = [" | ".join(_gain(effect[i]) for effect in chosen) for i in (0, 1)]
        goodput.append(f"{start} {first.mean.estimate or 0:,.0f} tokens/s | {gains[0]} |")
        tails.append(f"{start} {1e3 * (last.mean.estimate or 0):.2f} ms | {gains[1]} |")
    return "\n".join([*goodput, "", *tails, "", thinking()])


def gains() -> str:
    """The sentence under the README's figure."""
    said = []
    for scenario in SCENARIOS:
        effects = few(scenario)().effects
        spin, joint, oracle = (_estimate(effects[name][0]) for name in (scenario, "joint", "oracle"))
        said.append(f"{spin} with SPIN's selector, {joint} with `joint` (ours), {oracle} with an oracle")
    first, second = said
    lines = f"Goodput against `tiny` for everyone: {first} that sees the future.\nWith specialists {second}."
    return f"\n{lines} {thinking('docs/')}\n"


def thinking(folder: str = "") -> str:
    """What the quickstart's profile knows of the time that policies take."""
    loaded = load(ROOT / "scenarios" / "quickstart.yaml")
    assert isinstance(loaded.scenario.costs, ProfileCosts)
    profile = read_profile(loaded.base_dir / loaded.scenario.costs.path)
    limits = f"[limits.md]({folder}limits.md)"
    rehearsed = list(dict.fromkeys(f"`{point.policy}`" for point in profile.of("handling")))
    if rehearsed:
        said = "Selectors take host time to decide. In the quickstart's profile it was measured for"
        others = f"The others are charged the time of {rehearsed[0]}."
        return f"{said} {', '.join(rehearsed)}. {others} The specialists charge all alike ({limits})."
    return f"Both charge every selector the same time to decide, which flatters `joint` most ({limits})."


def _estimate(effect: Effect) -> str:
    gain = effect.relative
    return f"{100 * gain.estimate:+.1f} %" if gain else "the baseline"


def _gain(effect: Effect) -> str:
    gain = effect.relative
    if gain is None or gain.low is None or gain.high is None:
        return _estimate(effect)
    return f"{_estimate(effect)} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text else text


def put(page: str, block: str, text: str) -> str:
    """The page with a marked block replaced."""
    begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


def readme(page: str) -> str:
    """The README with the quickstart's output and the figure's command brought up to date, in a second."""
    page = put(page, "quickstart", output())
    return put(page, "compare", f"\n{few('quickstart').command}\n")


def main() -> None:
    """All of it."""
    from selectors_figure import draw  # beside this file

    page = put(readme(README.read_text(encoding="utf-8")), "gains", gains())
    README.write_text(page, encoding="utf-8")
    draw([few(scenario).folder for scenario in SCENARIOS], FIGURE)
    page = POLICIES.read_text(encoding="utf-8")
    page = put(page, "every selector", f"\n{every_selector()}\n")
    page = put(page, "loads", f"\n{loads()}\n")
    POLICIES.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
