"""The trials of a search: proposed in batches by Optuna, simulated, stopped early where hopeless."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spinsim.errors import InputError
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import Planned, Row, plan, rows_of
from spinsim.results.metrics import Metric, metric, value
from spinsim.scenario_file.variants import seeds_from
from spinsim.studies.tuning.holdout import Split
from spinsim.studies.tuning.search_space import Space

if TYPE_CHECKING:
    import optuna

STARTUP = 8  # finished trials before any is stopped early
FINALISTS = 6  # of one objective; a front has twice as many
FRONT = 6  # members of a Pareto front that are re-measured
State = Literal["complete", "stopped early", "invalid", "failed"]


@dataclass(frozen=True, slots=True)
class TunePlan:
    """How to search. ``objectives`` are metrics, one or several (a Pareto front).

    ``trials`` are asked for ``batch`` at a time, whatever the workers, so that their number changes no
    result. A trial first meets ``short`` of the requests with one seed, and is stopped there if hopeless;
    otherwise ``seeds`` full simulations make its value. The few best get ``confirm`` further seeds before
    one is chosen. ``fresh`` other seeds measure the gain, on the
    last ``holdout`` of a recorded workload's rows, which tuning does not see.
    """

    scenario: Path
    objectives: tuple[str, ...]
    require: tuple[str, ...]  # "attainment>=0.9"
    only: tuple[str, ...]
    choose: tuple[str, ...]
    ranges: tuple[str, ...]
    overrides: tuple[str, ...]
    holdout_overrides: tuple[str, ...]
    trials: int
    batch: int
    short: float
    seeds: int
    confirm: int
    fresh: int
    holdout: float
    seed: int | None
    plugins: tuple[str, ...]
    engine: str | None = None  # searches only what can be exported for it


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the search: its overrides, and the objectives' means where it was run in full."""

    number: int
    overrides: tuple[str, ...]
    parameters: dict[str, Any]
    state: State
    values: tuple[float, ...] | None
    short: tuple[float, ...] | None
    feasible: bool
    error: str = ""
    confirmed: tuple[float, ...] | None = None  # means over the finalists' further seeds, too

    @property
    def score(self) -> tuple[float, ...]:
        """What finalists are chosen by."""
        return self.confirmed or self.values or ()


class Search:
    """Trials so far, and the study that proposes the next ones."""

    def __init__(self, wanted: TunePlan, space: Space, split: Split, first: int, lab: Lab) -> None:
        self.wanted, self.space, self.split, self.lab = wanted, space, split, lab
        self.seeds = seeds_from(first, wanted.seeds)
        self.objectives = tuple(metric(name) for name in wanted.objectives)
        if not self.objectives:
            raise InputError("nothing to improve; name an objective", key="--objective")
        self.constraints = [constraint(text) for text in wanted.require]
        self.trials: list[Trial] = []
        self.rows: list[Row] = []
        self.study = _study(self.objectives, first)

    def run(self, start: dict[str, Any]) -> None:
        self.study.enqueue_trial(start)
        while len(self.trials) < self.wanted.trials:
            count = min(self.wanted.batch, self.wanted.trials - len(self.trials))
            asked = [self.study.ask() for _ in range(count)]
            proposals = [(trial, tuple(self.space.suggest(trial))) for trial in asked]
            for trial, found in zip(asked, self._evaluate(proposals), strict=True):
                self._tell(trial, found)
                self.trials.append(found)
                self._report()
        self._confirm()

    def _confirm(self) -> None:
        """Give the finalists, and the scenario as written, further seeds.

        The best of many noisy values is biased upwards; the choice among few, on more seeds, is less so.
        """
        count = self.wanted.confirm
        finalists = self._finalists()
        if not count or len(finalists) < 2:
            return
        seeds = seeds_from(self.seeds[-1] + 1, count)
        proposals = [(trial, trial.overrides) for trial in finalists]
        for trial, rows in zip(
            finalists, self._simulate("finalists", proposals, self.split.tuning, seeds), strict=True
        ):
            further, error, _ = self._values(rows)
            if further is None:
                self.trials[trial.number] = replace(trial, state="failed", values=None, error=error)
                continue
            own = len(self.seeds)
            both = zip(trial.values or (), further, strict=True)
            means = tuple((own * a + count * b) / (own + count) for a, b in both)
            self.trials[trial.number] = replace(trial, confirmed=means)

    def _finalists(self) -> list[Trial]:
        done = [trial for trial in self.trials if trial.values is not None and trial.feasible]
        front = self._front(done)
        if len(self.objectives) == 1:
            first = {trial.score: trial for trial in reversed(done)}  # of equals, the first
            front = sorted(first.values(), key=lambda t: t.score, reverse=not self.objectives[0].lower)[
                :FINALISTS
            ]
        found = {trial.number: trial for trial in front[: 2 * FINALISTS]}
        if done and done[0].number == 0:
            found[0] = done[0]
        return [found[number] for number in sorted(found)]

    def _front(self, done: Sequence[Trial]) -> list[Trial]:
        """Those that no other dominates, the first of equals; ordered by the first objective."""
        front = [t for t in done if not any(dominates(o.score, t.score, self.objectives) for o in done)]
        return sorted({t.score: t for t in reversed(front)}.values(), key=lambda trial: trial.score)

    def _report(self) -> None:
        if self.lab.progress is not None:
            self.lab.progress("trials", len(self.trials), self.wanted.trials)

    def _evaluate(self, proposals: Sequence[tuple[optuna.Trial, tuple[str, ...]]]) -> list[Trial]:
        """A batch: short simulations of all, then full ones of those that are not hopeless."""
        short = self._simulate("short", proposals, self.split.short(self.wanted.short), self.seeds[:1])
        alive, found = [], {}
        for (trial, overrides), rows in zip(proposals, short, strict=True):
            values, error, state = self._values(rows)
            hopeless = values is not None and self._hopeless(values)
            if values is None or hopeless:
                ended: State = "stopped early" if hopeless else state
                found[trial.number] = Trial(
                    trial.number, overrides, trial.params, ended, None, values, True, error
                )
            else:
                alive.append((trial, overrides, values))
        full = self._simulate(
            "tuning", [(trial, overrides) for trial, overrides, _ in alive], self.split.tuning, self.seeds
        )
        for (trial, overrides, before), rows in zip(alive, full, strict=True):
            values, error, state = self._values(rows)
            excess = [0.0] if values is None else [c.excess(rows) for c in self.constraints]
            for constraint, amount in zip(self.constraints, excess, strict=False):
                trial.set_constraint(constraint.text, amount)
            feasible = all(amount <= 0 for amount in excess)
            found[trial.number] = Trial(
                trial.number, overrides, trial.params, state, values, before, feasible, error
            )
        return [found[trial.number] for trial, _ in proposals]

    def _simulate(
        self,
        name: str,
        proposals: Sequence[tuple[optuna.Trial | Trial, tuple[str, ...]]],
        workload: Sequence[str],
        seeds: Sequence[int],
    ) -> list[list[Row] | InputError]:
        """Rows of each proposal; an InputError where the scenario refuses it."""
        planned: list[list[Planned] | InputError] = []
        for trial, overrides in proposals:
            labels = {"trial": trial.number, "workload": name}
            try:
                planned.append(
                    [
                        plan(
                            self.wanted.scenario,
                            [*self.wanted.overrides, *overrides, *workload, f"seed={seed}"],
                            labels,
                            self.wanted.plugins,
                        )
                        for seed in seeds
                    ]
                )
            except InputError as error:
                planned.append(error)
        outcomes = self.lab.evaluate(
            (p.cell for cells in planned if not isinstance(cells, InputError) for p in cells), "cells"
        )
        results = [c if isinstance(c, InputError) else rows_of(c, outcomes) for c in planned]
        self.rows += [row for rows in results if not isinstance(rows, InputError) for row in rows]
        return results

    def _values(self, rows: list[Row] | InputError) -> tuple[tuple[float, ...] | None, str, State]:
        """Means of the objectives; None where the trial was refused, failed, or had nothing to measure."""
        if isinstance(rows, InputError):
            return None, rows.message, "invalid"
        if failed := [row.error for row in rows if row.summary is None]:
            return None, failed[0], "failed"
        means = []
        for objective in self.objectives:
            found = [v for row in rows if (v := value(row.summary or {}, objective)) is not None]
            if len(found) < len(rows):
                return None, f"{objective.path} is not defined: nothing to measure", "failed"
            means.append(sum(found) / len(found))
        return tuple(means), "", "complete"

    def _hopeless(self, values: tuple[float, ...]) -> bool:
        """Worse on its short simulation than half of the finished trials were on theirs.

        The median rule (Golovin et al. 2017); with several objectives, worse means dominated (ours).
        """
        finished = [trial.short for trial in self.trials if trial.state == "complete" and trial.short]
        if len(finished) < STARTUP:
            return False
        return sum(dominates(other, values, self.objectives) for other in finished) > len(finished) / 2

    def _tell(self, trial: optuna.Trial, found: Trial) -> None:
        from optuna.trial import TrialState

        if found.values is not None:
            self.study.tell(trial, list(found.values))
        elif found.state == "stopped early":
            if len(self.objectives) == 1 and found.short is not None:
                trial.report(found.short[0], 0)
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def importances(self) -> dict[str, tuple[float, ...]]:
        """How much of the trials' differences each parameter explains, as shares by objective.

        PED-ANOVA (Watanabe et al. 2023), of the parameters that every trial has; empty for too few trials.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        found: list[dict[str, float]] = []
        for i, objective in enumerate(self.objectives):
            sign = 1 if objective.lower else -1

            def value_of(trial: optuna.trial.FrozenTrial, i: int = i, sign: int = sign) -> float:
                return float(sign * trial.values[i])

            try:
                with warnings.catch_warnings(
                    action="ignore"
                ):  # that it takes lower for better, as it is given
                    found.append(
                        get_param_importances(
                            self.study, evaluator=PedAnovaImportanceEvaluator(), target=value_of
                        )
                    )
            except (ValueError, RuntimeError):  # too few trials, or none that differ
                return {}
        return {key: tuple(shares.get(key, 0.0) for shares in found) for key in found[0]}

    def chosen(self) -> list[Trial]:
        """The best feasible trial; of several objectives the front, thinned to ``FRONT`` members."""
        done = [trial for trial in self.trials if trial.values is not None and trial.feasible]
        finalists = [trial for trial in done if trial.confirmed is not None]
        front = self._front(finalists or done)
        if len(front) <= FRONT:
            return front
        last = len(front) - 1
        return [front[round(i * last / (FRONT - 1))] for i in range(FRONT)]


def dominates(a: Sequence[float], b: Sequence[float], objectives: Sequence[Metric]) -> bool:
    """Is ``a`` at least as good in every objective, and better in one?"""
    signs = [-1 if objective.lower else 1 for objective in objectives]
    gains = [sign * (x - y) for sign, x, y in zip(signs, a, b, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on the mean of a metric."""

    text: str
    metric: Metric
    least: bool
    bound: float

    def excess(self, rows: list[Row] | InputError) -> float:
        """Above 0 where the mean breaks the bound."""
        assert not isinstance(rows, InputError)
        found = [v for row in rows if (v := value(row.summary or {}, self.metric)) is not None]
        if not found:
            return 1.0
        mean = sum(found) / len(found)
        return self.bound - mean if self.least else mean - self.bound


def constraint(text: str) -> Constraint:
    """Parse ``METRIC>=NUMBER`` or ``METRIC<=NUMBER``; raises InputError for anything else."""
    for sign in (">=", "<="):
        name, found, bound = text.partition(sign)
        if found:
            try:
                number = float(bound)
            except ValueError:
                break
            if isfinite(number):
                return Constraint(text, metric(name.strip()), sign == ">=", number)
    raise InputError("not a bound; write METRIC>=NUMBER or METRIC<=NUMBER", file=f"--require {text}")


def _study(objectives: Sequence[Metric], seed: int) -> optuna.Study:
    try:
        import optuna
    except ImportError:
        raise InputError(
            "needs Optuna, which is not installed; pip install -e '.[tune]' in the checkout", key="tune"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        directions=["minimize" if objective.lower else "maximize" for objective in objectives],
        # numpy's generator of old, which Optuna uses, takes 32 bits of a scenario's 63
        sampler=optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True),
    )
