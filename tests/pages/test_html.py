"""report.html: whole, valid, and silent on the network."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from spinsim.engine.records import CANCELLED, Records, RequestRecord
from spinsim.errors import InputError
from spinsim.pages.load import tokens_by_slice
from spinsim.pages.rounds import round_counts
from spinsim.pages.run import write_report
from spinsim.results import arrow
from spinsim.results.folder import Additions, write_results
from spinsim.results.read import read_folder
from spinsim.results.summary import summarise
from spinsim.scenario import Scenario

VOID = {"meta", "link", "br", "img", "hr"}


class Checker(HTMLParser):
    """Collects attributes, ids and text, and fails on tags that do not balance."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: Counter[str] = Counter()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids[value or ""] += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert not checker.open
    return checker


def test_nothing_outside_the_page_is_asked_for(results: Path) -> None:
    html = (results / "report.html").read_text(encoding="utf-8")
    checker = checked(html)
    for tag, name, value in checker.attributes:
        if name in {"src", "href", "xlink:href", "action", "srcset", "poster", "data"}:
            assert value.startswith(("#", "data:")), (tag, name, value)
    assert not {"iframe", "object", "embed", "img"} & {tag for tag, _, _ in checker.attributes}
    assert html.count("<script") == 1, "tables sort by one script, which the page holds"
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?(#|data:))", html)


def test_ids_are_unique_and_every_reference_finds_one(results: Path) -> None:
    checker = checked((results / "report.html").read_text(encoding="utf-8"))
    assert max(checker.ids.values(), default=1) == 1
    wanted = {value[1:] for _, name, value in checker.attributes if name == "href" and value.startswith("#")}
    for _, _, value in checker.attributes:
        wanted |= set(re.findall(r"url\(#([^)]+)\)", value))
    assert wanted <= set(checker.ids)


def test_every_part_is_there(results: Path) -> None:
    html = (results / "report.html").read_text(encoding="utf-8")
    text = "".join(checked(html).text)
    for heading in (
        "How sure these numbers are", "Latency", "Over time", "Goodput against latency",
        "Drafts and acceptance", "The selector's choices", "Verification", "Devices",
        "Where time comes from", "Scenario",
    ):  # fmt: skip
        assert heading in text
    assert html.count("<svg") == 11  # panels side by side are drawings of their own
    assert "prefers-color-scheme:dark" in html
    assert not re.search(r"#0102[0-9a-f]{2}", html), "a placeholder colour was left"
    assert str(results.parent) not in html


def test_slices_of_the_window_add_up_to_what_was_committed(results: Path, tmp_path: Path) -> None:
    run = read_folder(results)
    assert tokens_by_slice(run, round_counts(run)).sum() == run.summary["tokens"]["committed"]
    copy = tmp_path / "many"
    shutil.copytree(results, copy)
    table = pq.read_table(copy / "rounds.parquet")
    committed, at = table.schema.get_field_index("committed"), table["committed_s"].to_numpy()
    column = arrow.numbers(np.full(table.num_rows, 30_000, dtype=np.int16))
    pq.write_table(table.set_column(committed, "committed", column), copy / "rounds.parquet")
    many, (start, end) = read_folder(copy), run.window
    rows = int(((at >= start) & (at <= end)).sum())
    firsts = run.summary["tokens"]["first"]
    assert tokens_by_slice(many, round_counts(many)).sum() == firsts + 30_000 * rows  # more than int16 holds


def test_the_report_can_be_made_again_from_its_folder(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(results, copy)
    first = (copy / "report.html").read_bytes()
    (copy / "report.html").unlink()
    assert write_report(copy) == copy / "report.html"
    assert (copy / "report.html").read_bytes() == first


def test_text_of_the_scenario_cannot_become_markup(
    tmp_path: Path, make_records: Callable[..., Records], scenario: Scenario, scenario_yaml: str
) -> None:
    evil = "<script>alert(1)</script>"
    records = make_records(2, requests=12)
    for record in records.requests.values():
        record.domain = evil if record.request % 2 else "<b>"
    spec = {**yaml.safe_load(scenario_yaml), "description": evil}
    renamed = Scenario.model_validate(spec)
    summary = summarise(records, renamed, mode="simulated", acceptance_source="synthetic")
    out = tmp_path / "run"
    write_results(out, records, summary, yaml.safe_dump(spec), Additions(report=write_report))
    html = (out / "report.html").read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert "alert(1)" in "".join(checked(html).text)
    assert evil not in html


@pytest.mark.parametrize("case", ["nothing", "no_drafts", "unserved", "given_up"])
def test_a_report_of_little(
    case: str, tmp_path: Path, make_records: Callable[..., Records], scenario: Scenario, scenario_yaml: str
) -> None:
    if case == "nothing":
        records = Records(lanes=(("target", ("gpu0",)),), drafts=("tiny",), interrupted="interrupted")
    elif case == "unserved":
        records = Records(lanes=(("target", ("gpu0",)),), drafts=("tiny",), ended_ns=10**9)
        records.requests[0] = RequestRecord(0, "", "", 5, 10)
    elif case == "given_up":  # in the middle of their outputs: they have paces, and nobody is completed
        records = make_records(3, requests=60)
        for record in records.requests.values():
            record.status = CANCELLED if record.finished_ns >= 0 else record.status
    else:
        records = make_records(3, requests=12)
        records.drafts, records.label_s = (), {}
        rounds, operations = records.rounds, records.operations
        for i in range(len(rounds.draft)):
            rounds.draft[i], rounds.drafted[i], rounds.accepted[i] = -1, 0, 0
        for i in range(len(operations.kind)):
            operations.kind[i], operations.model[i] = (3 if operations.kind[i] else 0), -1
    spec = yaml.safe_load(scenario_yaml)
    if case == "no_drafts":
        spec["models"]["drafts"], spec["placement"]["drafts"] = {}, {}
    summary = summarise(records, scenario, mode="simulated", acceptance_source="synthetic")
    out = tmp_path / "run"
    write_results(out, records, summary, yaml.safe_dump(spec), Additions(report=write_report))
    html = (out / "report.html").read_text(encoding="utf-8")
    checked(html)
    assert "nan" not in html.lower()


def test_a_folder_that_holds_no_results_is_bad_input(tmp_path: Path, results: Path) -> None:
    with pytest.raises(InputError, match="no complete results folder"):
        write_report(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(results, broken)
    (broken / "rounds.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="no complete results folder"):
        write_report(broken)
