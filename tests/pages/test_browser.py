"""Every report in a real browser: it renders, nothing complains, nothing leaves the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spinsim import api
from tests.pages.chromium import Browser, browser

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"
SPECIALISTS = QUICKSTART.with_name("specialists.yaml")
VALIDATION = Path(__file__).parents[2] / "docs" / "measurements" / "h100-validation.json"
LADDER = Path(__file__).parents[2] / "docs" / "measurements" / "h200-ladder.json"
FEW = {"workload.requests": 8}
# pairs of texts of one drawing whose boxes meet by more than a pixel both ways
OVERLAPS = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  return texts.flatMap(([a, p], i) => texts.slice(i + 1).filter(([b, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
    Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > p.height / 3).map(([b, q]) => a + ' | ' + b));
})"""
SMALLEST = """Math.min(...[...document.querySelectorAll('svg text')].filter(t => t.textContent.trim())
  .map(t => t.getBoundingClientRect().height))"""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on PATH")


def simulated(out: Path) -> None:
    api.simulate(QUICKSTART, set=FEW, out=out)


def compared(out: Path) -> None:
    api.compare(QUICKSTART, {"other": {"selector": {"name": "ucb1"}}}, set=FEW, seeds=2, workers=0, out=out)


def swept(out: Path) -> None:
    api.sweep(QUICKSTART, {"limits.batch": [2, 4]}, set=FEW, workers=0, out=out)


def studied(out: Path) -> None:
    file = out.with_name("study.yaml")
    part = {"command": "sweep", "scenario": str(QUICKSTART), "grid": {"limits.batch": [2, 4]}, "set": FEW}
    file.write_text(json.dumps({"name": "of-batches", "parts": {"batches": part}}))
    api.study(file, out, workers=0)


def loaded(out: Path) -> None:
    arrivals = {"workload.arrivals": {"process": "poisson", "rate_per_s": 4}, **FEW}
    api.capacity(QUICKSTART, duration_s=1, tolerance=0.5, seeds=1, set=arrivals, workers=0, out=out)


def tuned(out: Path) -> None:
    pytest.importorskip("optuna")
    plan = {"only": ("length",), "trials": 3, "seeds": 1, "confirm": 1, "fresh": 2}
    api.tune(QUICKSTART, set=FEW, workers=0, out=out, **plan)


def sharded(out: Path) -> None:
    api.simulate(SPECIALISTS, set={"workload.requests": 8, "placement.target": ["gpu0", "gpu1"]}, out=out)


def validated(out: Path) -> None:
    out.mkdir()
    shutil.copy(VALIDATION, out / "report.json")
    api.report(out / "report.json")


def climbed(out: Path) -> None:
    out.mkdir()
    shutil.copy(LADDER, out / "report.json")
    api.report(out / "report.json")


# what makes a results folder, and words of its page's headline
REPORTS = {
    "simulation": (simulated, "tokens/s"),
    "comparison": (compared, "other"),
    "sweep": (swept, "limits.batch"),
    "study": (studied, "study of 1 part"),
    "capacity": (loaded, "req/s"),
    "tuning": (tuned, "trials"),
    "sharded target": (sharded, "gpu0+gpu1/target"),
    "validation": (validated, "Live beside simulated"),
    "ladder": (climbed, "+ decomposition"),
}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with browser(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_renders_alone(tab: Browser, tmp_path: Path, kind: str) -> None:
    make: Callable[[Path], None]
    make, words = REPORTS[kind]
    make(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").as_uri()
    for width, scheme in ((1100, "light"), (1100, "dark"), (400, "light"), (400, "dark")):
        visit = tab.visit(page, width, scheme)
        assert visit.complaints == []
        assert visit.requests == [page]
        headline = "document.querySelector('h1').getBoundingClientRect().height"
        assert visit.ask(headline) > 10
        assert words in visit.ask("document.querySelector('main').innerText")
        figures = "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)"
        assert all(height > 0 for height in visit.ask(figures))
        assert visit.ask(OVERLAPS) == [], f"text over text at {width} px"
        assert visit.ask(SMALLEST) >= 9, f"text too small at {width} px"
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visit.ask(wide) <= 0, f"scrolls sideways at {width} px"


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("run") / "out"
    simulated(out)
    return (out / "report.html").as_uri()


SHARES = """[...[...document.querySelectorAll('table')]
  .find(t => t.tHead.textContent.startsWith('draft')).tBodies[0].rows]
  .map(r => [r.cells[0].textContent, r.cells[6].textContent])"""


def test_a_click_sorts_a_table_and_another_turns_it_round(tab: Browser, run_page: str) -> None:
    visit = tab.visit(run_page)
    click = """[...document.querySelectorAll('th')].find(h => h.textContent === '%s').click()"""
    before = visit.ask(SHARES)

    def seconds(row: list[str]) -> float:
        number, unit = row[1].split()
        return float(number.replace(",", "")) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]

    visit.ask(click % "drafting")  # times in several units
    assert visit.ask(SHARES) == sorted(before, key=seconds, reverse=True)
    visit.ask(click % "drafting")
    assert visit.ask(SHARES) == sorted(before, key=seconds)
    visit.ask(click % "draft")
    assert [row[0] for row in visit.ask(SHARES)] == sorted(row[0] for row in before)


def test_light_and_dark_are_both_there(tab: Browser, run_page: str) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    assert tab.visit(run_page, scheme="light").ask(paper) != tab.visit(run_page, scheme="dark").ask(paper)


@pytest.mark.parametrize(
    ("html", "request_to"),
    [
        ("<img src='https://leak.invalid/a.png'>", "https://leak.invalid/a.png"),
        ("<style>body{background:url(//leak.invalid/b.png)}</style>", "file://leak.invalid/b.png"),
        ("<style>@import 'http://leak.invalid/c.css'</style>", "http://leak.invalid/c.css"),
    ],
)
def test_a_page_that_leaks_is_caught(tab: Browser, tmp_path: Path, html: str, request_to: str) -> None:
    (tmp_path / "leak.html").write_text(f"<!doctype html>{html}<p>x")
    visit = tab.visit((tmp_path / "leak.html").as_uri())
    assert request_to in visit.requests
    assert visit.complaints


@pytest.mark.parametrize("script", ["console.error('no')", "nothing.here", "Promise.reject(new Error('no'))"])
def test_a_page_that_complains_is_caught(tab: Browser, tmp_path: Path, script: str) -> None:
    (tmp_path / "error.html").write_text(f"<!doctype html><script>{script}</script><p>x")
    assert tab.visit((tmp_path / "error.html").as_uri()).complaints
