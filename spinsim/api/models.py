"""The embedded family of small models: ``spinsim models`` from Python. Torch is imported when needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from spinsim.api.common import texts
from spinsim.api.frames import frame
from spinsim.api.options import Argument, Option, PathLike, Texts
from spinsim.errors import InputError, reason_of
from spinsim.family.family import CHECKPOINTS, MEMBERS, Member
from spinsim.family.family import folder as _folder
from spinsim.files import check_file, check_writable

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.family.evaluate import Evaluation
    from spinsim.recording import Trace

CheckpointsOf = Annotated[PathLike, Option("Folder of the family's checkpoints.")]
Seed = Annotated[int, Option("Of what is drawn at random.")]
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}


@dataclass(frozen=True)
class Checkpoint:
    """A family member and its weights; ``megabytes`` is None where they are missing."""

    member: Member
    megabytes: float | None


@dataclass(frozen=True)
class Family:
    """The family in a folder."""

    checkpoints: tuple[Checkpoint, ...]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a member: shape, training mix, what it stands for, MB of weights."""
        return frame([asdict(one.member) | {"megabytes": one.megabytes} for one in self.checkpoints])


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is. ``sha256`` by file; a member's ``manifest`` entry, and whether it agrees."""

    folder: Path
    cost_stand_in: bool
    provenance: Any
    config: dict[str, Any]
    sha256: dict[str, str]
    manifest: dict[str, Any] | None = None
    matches_manifest: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without what does not apply."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.manifest is None:
            del values["manifest"], values["matches_manifest"]
        return values | {"folder": str(self.folder)}


@dataclass(frozen=True)
class Widened:
    """A cost stand-in: the outputs of one model at the cost of ``shape``."""

    out: Path
    shape: str
    parameters: int


@dataclass(frozen=True)
class Evaluated:
    """``result``: tokens per round by domain and draft, and which draft is best for whom."""

    result: Evaluation
    trace: Trace

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each domain and draft: tokens per round, share of requests it is best for."""
        return frame(
            [
                {
                    "domain": domain,
                    "draft": name,
                    "tokens_per_round": tokens,
                    "best_for": self.result.best_by_domain[domain][name],
                }
                for domain, by_draft in self.result.tokens_per_round.items()
                for name, tokens in by_draft.items()
            ]
        )


def members(family: CheckpointsOf = CHECKPOINTS) -> Family:
    """The family: shapes, training mixes, and whether the weights are here."""
    found = []
    for name, member in MEMBERS.items():
        weights = Path(family) / name / "model.safetensors"
        found.append(Checkpoint(member, weights.stat().st_size / 1e6 if weights.is_file() else None))
    return Family(tuple(found))


def inspect(
    model: Annotated[PathLike, Argument("A family member, or the folder of a checkpoint.", metavar="MODEL")],
    family: CheckpointsOf = CHECKPOINTS,
) -> Inspection:
    """What a checkpoint is: its config, checksum and training; cost stand-ins say what they stand in for.

    ``model``: a family member by name, or the folder of any checkpoint. Raises InputError where there is
    none.
    """
    from spinsim.family.export import MANIFEST, sha256

    path = _checkpoint(model, family)
    config = _json(path / "config.json")
    sums = {file.name: sha256(file) for file in sorted(path.glob("*.safetensors"))}
    known: dict[str, Any] | None = None
    if str(model) in MEMBERS and (Path(family) / MANIFEST).is_file():
        known = _json(Path(family) / MANIFEST).get("members", {}).get(str(model), {})
    return Inspection(
        path,
        bool(config.get("spinsim_cost_stand_in", False)),
        config.get("spinsim_provenance"),
        config,
        sums,
        known,
        None if known is None else known.get("sha256") == sums.get("model.safetensors"),
    )


def train(
    out: Annotated[PathLike, Option("Folder for corpus, states and checkpoints.", metavar="DIR")],
    *,
    minutes: Annotated[float, Option("Wall time for everything.", min=0.1)] = 5.0,
    steps: Annotated[int | None, Option("Steps per member, instead of a time: repeatable.", min=1)] = None,
    device: Annotated[str, Option("cpu, cuda, cuda:1, or auto.")] = "auto",
    jobs: Annotated[int, Option("Drafts trained at once.", min=1)] = 5,
    batch: Annotated[int, Option("Rows of 512 tokens per step.", min=1)] = 64,
    rows: Annotated[int, Option("Corpus rows per domain.", min=1)] = 20_000,
    target_share: Annotated[float, Option("Share of the time for the target.", min=0.05, max=0.95)] = 0.6,
    distill: Annotated[
        float, Option("Weight of the target's probabilities; 0: text alone.", min=0, max=1)
    ] = 0.9,
    seed: Seed = 0,
    compile: Annotated[bool, Option("torch.compile the training step.")] = False,
    resume: Annotated[bool, Option("Go on with what is in the folder.")] = False,
    part_mib: Annotated[float | None, Option("Also write tar parts of at most this many MiB.")] = None,
    tiny: Annotated[bool, Option("A trial of seconds: 2 steps each on a small corpus.")] = False,
    only: Annotated[Texts, Option("Train these drafts from the target that is in DIR.")] = (),
) -> Path:
    """Train the whole family: the target first, then the drafts from its probabilities.

    It goes into the folder ``out``. ``only``: drafts to train from the target that is there. Returns the path
    of its manifest. ``minutes`` of wall time for everything, or ``steps`` for each member, which is
    repeatable. See :class:`spinsim.family.train.Options`; ``rows`` of the corpus for each domain. ``tiny``: a
    trial of seconds. Raises InputError for a folder in use, RuntimeError where a member fails.
    """
    from spinsim.family.train import Options, train_family

    _new_folder(Path(out), resume=resume)
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    _check_device(device)
    budget = f"--steps {steps}" if steps else f"--minutes {minutes:g}"
    rest = f"--device {device} --batch {batch} --rows {rows} --distill {distill:g} --seed {seed}"
    alone = "".join(f" --only {name}" for name in texts(only))
    command = f"spinsim models train --out DIR{alone} {'--tiny' if tiny else f'{budget} {rest}'}"
    return train_family(
        Options(
            out=Path(out),
            minutes=None if steps or tiny else minutes,
            steps=2 if tiny else steps,
            device=device,
            jobs=jobs,
            batch=4 if tiny else batch,
            rows_per_domain=16 if tiny else rows,
            target_share=target_share,
            distill=distill,
            seed=seed,
            compile=compile,
            resume=resume,
            only=tuple(texts(only)),
            part_mib=part_mib,
            command=command,
        )
    )


def widen(
    model: Annotated[
        PathLike, Argument("A family member, or the folder of a LLaMA checkpoint.", metavar="MODEL")
    ],
    shape: Annotated[
        str, Argument("A known shape (llama-7b, llama-3-8b, ...) or a config.json.", metavar="SHAPE")
    ],
    out: Annotated[PathLike, Option("Folder for the widened checkpoint.", metavar="DIR")],
    *,
    dtype: Annotated[str, Option("bf16 or fp32.")] = "bf16",
    device: Annotated[str, Option("Where it is built: cpu or cuda.")] = "cpu",
    seed: Seed = 0,
    family: CheckpointsOf = CHECKPOINTS,
) -> Widened:
    """Write a cost stand-in: the same outputs at the cost of a larger LLaMA shape.

    It goes into the folder ``out``. ``model``: a family member, or the folder of a LLaMA checkpoint.
    ``shape``: a known one (llama-7b, ...) or a config.json. Raises InputError.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; allowed: {', '.join(DTYPES)}")
    out = Path(out)
    _new_folder(out)
    _check_device(device)
    source = _checkpoint(model, family)
    import torch

    from spinsim.costs.sheets.shapes import shape_of
    from spinsim.family.widen import widen as widened

    made = widened(
        source, shape_of(shape), dtype=getattr(torch, DTYPES[dtype]), device=device, out=out, seed=seed
    )
    return Widened(out, shape, sum(p.numel() for p in made.parameters()))


def evaluate(
    *,
    family: CheckpointsOf = CHECKPOINTS,
    requests: Annotated[int, Option("Held-out requests per domain.", min=1)] = 20,
    output_tokens: Annotated[int, Option("Tokens recorded of a request.", min=2)] = 64,
    length: Annotated[int, Option("Draft tokens per round.", min=1)] = 4,
    step_ms: Annotated[
        Mapping[str, float] | Texts | None,
        Option("Milliseconds of a step; repeatable.", metavar="DRAFT=MS"),
    ] = None,
    verify_ms: Annotated[float, Option("Milliseconds of a verification.", min=0)] = 8.0,
    device: Annotated[str, Option("cpu or cuda.")] = "cpu",
    seed: Seed = 0,
    batch: Annotated[int, Option("Requests recorded at once.", min=1)] = 32,
    save: Annotated[
        PathLike | None, Option("Also keep the recording as an acceptance trace.", metavar="FILE")
    ] = None,
) -> Evaluated:
    """Tokens per round by domain and draft, and the share of requests each draft is best for.

    There are ``requests`` held-out prompts of each domain and ``length`` draft tokens a round. The best
    draft of a request is the fastest at ``step_ms`` milliseconds a step of each draft ({draft:
    milliseconds}, or ``draft=milliseconds`` texts) and ``verify_ms`` a verification. ``save`` keeps the
    recording as an acceptance trace. Raises InputError.
    """
    from spinsim.family.evaluate import STEP_S, held_out_prompts, judge_trace
    from spinsim.family.family import DRAFTS
    from spinsim.family.record import trace_family
    from spinsim.recording import save_trace

    _check_device(device)
    if save is not None:
        check_file(Path(save), "--save")
    steps = {draft.name: STEP_S[draft.stands_for] for draft in DRAFTS}
    if not isinstance(step_ms, Mapping):
        step_ms = dict(_milliseconds(text) for text in texts(step_ms or ()))
    for name, value in step_ms.items():
        if name not in steps:
            raise InputError(f"{name!r} is no draft; drafts: {', '.join(steps)}", key="--step-ms")
        if not 0 < value < math.inf:
            raise InputError(f"{value} ms is not allowed; above 0", key="--step-ms")
        steps[name] = float(value) / 1e3
    chosen = held_out_prompts(requests, seed)
    settings = f"--requests {requests} --output-tokens {output_tokens} --seed {seed} --device {device}"
    trace = trace_family(
        chosen,
        [output_tokens] * len(chosen),
        root=Path(family),
        device=device,
        batch=batch,
        command=f"spinsim models evaluate {settings}",
    )
    if save is not None:
        Path(save).parent.mkdir(parents=True, exist_ok=True)
        save_trace(trace, Path(save))
    return Evaluated(judge_trace(trace, length=length, step_s=steps, verify_s=verify_ms / 1e3), trace)


def _milliseconds(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise InputError(
            f"{text!r} is no draft=milliseconds; allowed: such as tiny=0.2", key="--step-ms"
        ) from None


def _checkpoint(model: PathLike, family: PathLike) -> Path:
    path = _folder(str(model), Path(family)) if str(model) in MEMBERS else Path(model)
    if not (path / "config.json").is_file():
        raise InputError(
            f"no config.json under {path}; expected {', '.join(MEMBERS)}, or a checkpoint's folder"
        )
    return path


def _new_folder(path: Path, *, resume: bool = False) -> None:
    """Raise InputError unless ``path`` is a folder that is empty or can be made."""
    if path.is_dir() and any(path.iterdir()) and not resume:
        raise InputError(f"{path} is not empty; allowed: an empty or new folder")
    check_writable(path, "allowed: an empty or new folder")


def _check_device(device: str) -> None:
    """Raise InputError for what is no device, or is not there."""
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise InputError(f"{device!r} is no device; allowed: cpu, cuda, cuda:1, ...", key="--device")
    if kind == "cuda":
        import torch

        if int(number or 0) >= torch.cuda.device_count():
            raise InputError(f"{device!r} is not on this machine; allowed: cpu", key="--device")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {reason_of(error)}; a JSON file", file=str(path)) from None
    if not isinstance(content, dict):
        raise InputError("is no mapping; a JSON file that holds one", file=str(path))
    return content
