"""``init``: scenarios that run, for many answers; what it assumes; and what it refuses."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinsim import api
from spinsim.api.study_files import part_commands
from spinsim.bundles.plan import read_study
from spinsim.costs.sheets.shapes import shape_names, shape_of
from spinsim.errors import InputError
from spinsim.scenario_file import load
from spinsim.scenario_file.variants import axis, grid
from spinsim.starting.columns import guess_columns
from spinsim.studies.compare import alternatives

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "scenarios" / "own-traffic.csv"
FEW = {"workload.requests": 4}


def started(folder: Path, **answers: Any) -> tuple[api.Started, dict[str, Any]]:
    made = api.init(folder / "mine.yaml", **answers)
    return made, yaml.safe_load(made.path.read_text(encoding="utf-8"))


def completed(path: Path) -> int:
    return int(api.simulate(path, set=FEW).summary["requests"]["completed"])


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"gpus": 1, "rate": 3.0},
        {"target": "qwen3-32b", "hardware": "a100-80", "gpus": 4},
        {"target": "llama-3-70b", "gpus": 8, "draft": ["llama-3-1b", "big=llama-3-8b"]},
        {"target": "llama-7b", "hardware": "L4", "gpus": 3, "clients": 2, "price_per_hour": 0.8},
        {"target": "llama-3-1b", "draft": "llama-3-117m", "hardware": "cpu", "gpus": 1},
        {"traffic": SAMPLE},
        {"traffic": SAMPLE, "columns": "text=question,output=answer_tokens", "clients": 3},
        {"traffic": ROOT / "profiles" / "family-greedy.npz"},
        {"draft": ["ngram", "eagle=head", "llama-3-1b"]},
        {"draft": "suffix", "gpus": 1},
        {"prompt_tokens": 8192, "output_tokens": 300, "hardware": "a100-80", "clients": 8},
        {"traffic": SAMPLE, "output_tokens": 40},
    ],
    ids=str,
)
def test_what_it_writes_runs(answers: dict[str, Any], tmp_path: Path) -> None:
    made, written = started(tmp_path, **answers)
    assert completed(made.path) == 4
    gpus = answers.get("gpus", 2)
    assert len(written["devices"]) == gpus
    assert {*written["placement"]["target"], *written["placement"]["drafts"].values()} == {
        *written["devices"]
    }


def test_every_assumption_is_said_and_is_in_the_file(tmp_path: Path) -> None:
    made, _ = started(tmp_path)
    comment = " ".join(line.lstrip("# ") for line in made.path.read_text().splitlines() if line[:1] == "#")
    assert all(said in comment for said in made.assumed)
    about = " ".join(made.assumed)
    for word in ("lengths are drawn", "16 clients", "drafts", "data sheets", "acceptance", "objectives"):
        assert word in about


def test_what_is_said_is_not_assumed(tmp_path: Path) -> None:
    made, _ = started(tmp_path, draft="llama-3-3b", clients=3, traffic=SAMPLE, columns={"text": "question"})
    about = " ".join(made.assumed)
    assert "clients" not in about
    assert "vocabulary" not in about
    assert "guessed" not in about
    assert "no output lengths" in about


def test_traffic_of_the_user_s_is_replayed_from_a_relative_path(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"ts": 1.5, "usage": {"prompt_tokens": 9000, "completion_tokens": 5}}) + "\n")
    made, written = started(tmp_path, traffic=log)
    source = written["workload"]["source"]
    assert source["path"] == "log.jsonl"
    assert source["columns"] == {
        "arrival": "ts",
        "prompt": "usage.prompt_tokens",
        "output": "usage.completion_tokens",
    }
    assert written["workload"]["arrivals"] == {"process": "replay"}
    assert written["limits"]["context_tokens"] == 16384  # holds the longest request
    assert api.simulate(made.path).summary["requests"]["completed"] == 1


def test_own_shapes_and_sheets_are_named_from_the_scenario_s_folder(tmp_path: Path) -> None:
    target = ROOT / "spinsim" / "family" / "checkpoints" / "target"
    draft = ROOT / "spinsim" / "family" / "checkpoints" / "tiny" / "config.json"
    (tmp_path / "card.yaml").write_text("base: h100\nprice_per_hour: 2\n")
    made, written = started(
        tmp_path, target=str(target), draft=str(draft), hardware=str(tmp_path / "card.yaml")
    )
    assert written["devices"]["gpu0"]["hardware"] == "card.yaml"
    assert list(written["models"]["drafts"]) == ["tiny"]
    assert "cost" in api.simulate(made.path, set=FEW).summary


def test_a_recording_gives_its_drafts_and_their_acceptance(tmp_path: Path) -> None:
    """What was recorded is not modelled, and a draft is taken for what it was as far as the file tells."""
    recording = ROOT / "profiles" / "ngram-and-models.npz"
    made, written = started(tmp_path, traffic=recording, gpus=1)
    small = {"shape": "llama-3-1b"}
    assert written["models"]["drafts"] == {
        "ngram": {"kind": "ngram"}, "suffix": {"kind": "suffix"}, "tiny": small, "code": small,
    }  # fmt: skip
    assert written["acceptance"]["drafts"] == {"ngram": "ngram", "suffix": "suffix"}
    alone = {"policies.selector": {"name": "fixed", "draft": "tiny"}, "policies.length": {"name": "fixed"}}
    done = api.simulate(made.path, set={**FEW, **alone})
    assert done.summary["acceptance"]["source"] == "trace"
    about = " ".join(made.assumed)
    assert "costs are assumed: ngram = ngram, suffix = suffix, tiny = llama-3-1b, code = llama-3-1b" in about
    assert "modelled" not in about
    # what a lookup found tells which draft to take, which the selector for models does not look at
    policies = written["policies"]
    assert (policies["selector"]["name"], policies["length"]["name"]) == ("contextual", "planned")

    made, written = started(tmp_path, traffic=recording, draft=["ngram=ngram", "tiny=head"], force=True)
    assert written["models"]["drafts"] == {"ngram": {"kind": "ngram"}, "tiny": {"kind": "head"}}

    made, written = started(tmp_path, traffic=recording, draft=["code=llama-3-117m"], force=True)
    assert written["models"]["drafts"] == {"code": {"shape": "llama-3-117m"}}
    assert completed(made.path) == 4


def test_what_is_guessed_of_lookups_and_heads_is_said(tmp_path: Path) -> None:
    made, written = started(tmp_path, draft=["ngram", "eagle=head"], gpus=1)
    assert written["models"]["drafts"] == {"ngram": {"kind": "ngram"}, "eagle": {"kind": "head"}}
    assert written["acceptance"]["matches"] == "modelled"
    about = " ".join(made.assumed)
    assert "a lookup's first token" in about
    assert "a head's token" in about
    assert "draft's size" not in about


PUBLISHED = {
    "azure": ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"),
    "burstgpt": ("b.csv", "Timestamp,Model,Request tokens,Response tokens,Log Type\n5,m,4,8,x\n"),
    "mooncake": ("m.jsonl", '{"timestamp": 1, "input_length": 6755, "output_length": 50, "hash_ids": [0]}\n'),
    "spec_bench": ("s.jsonl", '{"question_id": 1, "category": "writing", "turns": ["Write."]}\n'),
    "sharegpt": ("s.json", '[{"id": "a", "conversations": [{"from": "human", "value": "Hi"}, '
                 '{"from": "gpt", "value": "Hello"}]}]'),
    "alpaca": ("a.json", '[{"instruction": "Add.", "input": "", "output": "2"}]'),
}  # fmt: skip


@pytest.mark.parametrize("form", PUBLISHED)
def test_published_formats_are_known_by_their_first_record(form: str, tmp_path: Path) -> None:
    name, text = PUBLISHED[form]
    (tmp_path / name).write_text(text)
    made, written = started(tmp_path, traffic=tmp_path / name)
    assert written["workload"]["source"] == {"format": form, "path": name}
    assert f"the file is read as {form}" in " ".join(made.assumed)
    assert "guessed" not in " ".join(made.assumed)


def test_answers_of_spec_bench_are_sent_to_trace(tmp_path: Path) -> None:
    file = tmp_path / "model.jsonl"
    file.write_text('{"question_id": 1, "category": "x", "answer_id": "a", "model_id": "m", "choices": []}\n')
    with pytest.raises(InputError, match=r"spinsim trace model\.jsonl --import spec_bench"):
        started(tmp_path, traffic=file)


def test_a_comparison_of_a_file_that_clients_share_draws_its_rows(tmp_path: Path) -> None:
    """Every seed would have the same requests otherwise, and no difference an interval."""
    drawn = "--set workload.source.resample=true"
    made, _ = started(tmp_path, traffic=SAMPLE, clients=3)
    assert drawn in made.path.read_text()
    made, _ = started(tmp_path, traffic=SAMPLE, force=True)
    assert drawn not in made.path.read_text()


@pytest.mark.parametrize("name", shape_names())
def test_usual_drafts_share_the_vocabulary_and_are_small(name: str, tmp_path: Path) -> None:
    target = shape_of(name)
    others = (shape_of(other) for other in shape_names())
    if not any(o.vocab == target.vocab and 4 * o.parameters() <= target.parameters() for o in others):
        with pytest.raises(InputError, match="name a draft"):
            started(tmp_path, target=name)
        return
    large = target.parameters() > 100e9  # does not fit on two
    _, written = started(tmp_path, target=name, gpus=8 if large else 2, hardware="h200")
    for draft in written["models"]["drafts"].values():
        shape = shape_of(draft["shape"])
        assert shape.vocab == shape_of(name).vocab
        assert shape.parameters() <= shape_of(name).parameters() / 4


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"target": "llama-9b"}, "--target: unknown model shape 'llama-9b'; allowed: llama-68m"),
        ({"draft": "llama-68m"}, "--draft: llama-68m has 32000 tokens, the target has 128256"),
        ({"draft": ["a=llama-3-1b", "a=llama-3-3b"]}, "--draft: two drafts are called 'a'"),
        ({"target": "llama-3-70b", "gpus": 1}, "--gpus: llama-3-70b has 131 GiB of weights, which 1 x h100"),
        ({"gpus": 40}, "--gpus: 40 GPUs are more than these models can use; at most 33"),
        ({"gpus": 0}, "--gpus: 0 is not allowed; 1 or more"),
        ({"hardware": "h10"}, "--hardware: unknown hardware 'h10'"),
        ({"hardware": "no.yaml"}, "--hardware: no such file, no.yaml"),
        ({"rate": 1.0, "clients": 2}, "--clients: a rate and a number of clients exclude each other"),
        ({"rate": 0.0}, "--rate: 0 is not allowed; a rate above 0"),
        (
            {"traffic": __file__},
            "--format: the format of test_init.py is not told by its name; one of csv",
        ),
        ({"traffic": "no"}, "no: no such file; --traffic takes a file of requests"),
        ({"traffic": Path(__file__).parent}, "starting: is a folder; --traffic takes a file of requests"),
        (
            {"traffic": ROOT / "profiles" / "ngram-and-models.npz", "draft": "tinny=llama-3-1b"},
            "--draft: 'tinny' is not in ngram-and-models.npz, which has ngram, suffix, tiny or code (did you",
        ),
        ({"traffic": SAMPLE, "format": "cvs"}, "--format: no format 'cvs'; one of csv, jsonl"),
        ({"traffic": SAMPLE, "columns": "text"}, "--columns: 'text' is no mapping; write arrival=ts"),
        ({"traffic": SAMPLE, "columns": "text=a,text=b"}, "--columns: 'text=a,text=b' names two columns"),
        ({"traffic": SAMPLE, "columns": "prmpt=a"}, "--columns: no role 'prmpt'; one of arrival"),
        (
            {"traffic": SAMPLE, "columns": "text=asked"},
            "own-traffic.csv:1: workload.source.columns: no column",
        ),
    ],
)
def test_what_it_refuses_writes_nothing(answers: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        started(tmp_path, **answers)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "answers",
    [{}, {"traffic": SAMPLE, "draft": ["llama-3-1b", "llama-3-3b"]}, {"draft": ["ngram", "llama-3-1b"]}],
    ids=str,
)
def test_a_study_beside_it_is_accepted(answers: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    file = tmp_path / "studies" / "mine.yaml"
    made, _ = started(tmp_path, study=file, **answers)
    assert made.study == file
    commands = part_commands()
    plan = read_study(file, commands)
    assert [part.command for part in plan.parts] == ["compare", "sweep", "capacity"]
    for part in plan.parts:
        commands[part.command].check(**part.options)
    with pytest.raises(InputError, match="is there already"):
        api.init(tmp_path / "other.yaml", study=file)
    assert not (tmp_path / "other.yaml").exists()


def test_it_replaces_nothing_unless_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(InputError, match="is there already; --force replaces it"):
        started(tmp_path)
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert started(tmp_path, force=True)[1]["name"] == "mine"
    with pytest.raises(InputError, match="FILE: no such folder"):
        api.init(tmp_path / "nowhere" / "mine.yaml")


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        ("TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:00,3,4",
         {"arrival": "TIMESTAMP", "prompt": "ContextTokens", "output": "GeneratedTokens"}),
        ("prompt,output", "7,8", {"prompt": "prompt", "output": "output"}),
        ("prompt,category", "what is it?,talk", {"text": "prompt", "domain": "category"}),
        ("time_ms,question,prompt_tokens", "5,why?,3",
         {"arrival": "time_ms", "prompt": "prompt_tokens", "text": "question", "arrival_unit": "ms"}),
    ],
)  # fmt: skip
def test_columns_are_guessed_by_usual_names(
    header: str, row: str, found: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{header}\n{row}\n")
    assert guess_columns(path, "csv") == found


def test_a_column_that_is_named_twice_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("prompt,output,prompt\n1,2,3\n")
    with pytest.raises(InputError) as caught:
        guess_columns(path, "csv")
    assert str(caught.value).startswith(f"{path}:1: column prompt: 2 columns of the header have this name")


def test_columns_that_tell_nothing_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"--columns: no column of log.csv looks like a prompt.*\(a, b\)"):
        guess_columns(path, "csv")


@pytest.mark.parametrize("kind", ["hardware", "shapes", "policies", "drafters", "formats"])
def test_every_name_in_a_list_has_its_line(kind: str) -> None:
    lines = api.catalogue(kind)
    assert len(lines) >= 4
    assert all(len(line) > 10 and "\n" not in line for line in lines.values())


def test_a_list_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="'gpus' is no list; one of hardware, shapes, policies, drafters"):
        api.catalogue("gpus")


def test_stated_lengths_are_those_of_the_scenario(tmp_path: Path) -> None:
    """Context and objective go with them; what the models do not hold is refused, not cut in silence."""
    made, written = started(tmp_path, prompt_tokens=8192)
    workload, limits = written["workload"], written["limits"]
    assert workload["prompt_tokens"]["median"] == 8192
    longest = workload["prompt_tokens"]["max"] + workload["output_tokens"]["max"]
    assert longest <= limits["context_tokens"] == 32768
    assert written["slo"]["ttft_s"] == 2
    assert "prompts of some 8192 tokens, outputs of some 160" in made.assumed[0]
    with pytest.raises(InputError, match=r"--prompt-tokens: .*at most 2048 together"):
        api.init(tmp_path / "no.yaml", target="llama-7b", draft="llama-68m", prompt_tokens=8192)
    with pytest.raises(InputError, match="--prompt-tokens: the file of --traffic has the prompts"):
        api.init(tmp_path / "no.yaml", traffic=SAMPLE, prompt_tokens=8)


@pytest.mark.parametrize("draft", ["llama-3-3b", ["ngram", "eagle=head"], ["llama-3-1b", "llama-3-3b"]])
def test_the_alternatives_that_it_suggests_are_valid(tmp_path: Path, draft: Any) -> None:
    """Whatever selector and length it wrote, each draft for everybody can be compared with them."""
    made, written = started(tmp_path, draft=draft)
    text = [line for line in made.path.read_text().splitlines() if line.startswith("#     spinsim ")]
    said = {words[1]: words for words in (shlex.split(line[1:], comments=True) for line in text)}
    options = {name: list(itertools.pairwise(words)) for name, words in said.items()}
    policies = [value for option, value in options["compare"] if option == "--policy"]
    assert len(policies) >= len(written["models"]["drafts"]) + 1
    for one in alternatives([made.path], policies):
        load(one.scenario, one.overrides)
    sets = [value for option, value in options["sweep"] if option == "--set"]
    for _, chosen in grid([axis(value) for option, value in options["sweep"] if option == "--grid"]):
        load(made.path, [*sets, *chosen])
