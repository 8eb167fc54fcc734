"""Train the whole family within a time: ``spinsim models train --out DIR --minutes 5``.

The target trains first, with the device to itself; then the drafts learn from its
probabilities, side by side in one process each (or one by one). Everything is saved on the way:
the same command with ``--resume`` goes on after an interruption.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.family import dataset, export
from spinsim.family.corpus import MIXES
from spinsim.family.family import DRAFTS, MEMBERS, TARGET, Member
from spinsim.family.family import member as find
from spinsim.family.recipe import Progress, Recipe


@dataclass(frozen=True, slots=True)
class Options:
    """What to train and for how long.

    ``minutes`` covers everything: corpus, start of processes, training, writing. ``steps`` (for
    every member) instead makes a run repeatable bit by bit on one machine. ``jobs`` drafts
    train at once. ``target_share`` of the training time goes to the target. ``only``: drafts to train from
    the target that is in ``out`` already, in place of the whole family.
    """

    out: Path
    minutes: float | None = 5.0
    steps: int | None = None
    device: str = "cpu"
    jobs: int = len(DRAFTS)
    batch: int = 64
    rows_per_domain: int = 20_000  # of 513 tokens
    target_share: float = 0.6
    distill: float = 0.9
    seed: int = 0
    compile: bool = False
    resume: bool = False
    only: tuple[str, ...] = ()
    part_mib: float | None = None  # also write the family as tar parts of at most this size
    command: str = "spinsim models train"


Say = Callable[[str], None]
_START_S = 12.0  # kept back for each round of processes: one starts, imports torch, writes its checkpoint


def _interrupt(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _job(options: Options, name: str, recipe: Recipe, distilled: bool, queue: Any) -> None:
    """One member, in its own process. Messages to ``queue``: (name, Progress or error text)."""
    import torch

    from spinsim.family.family import load
    from spinsim.family.trainer import Trainer

    # The parent alone hears the terminal's interrupt; it ends us with SIGTERM, once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        torch.set_float32_matmul_precision("high")
        if options.device == "cpu":
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.jobs))
        member = MEMBERS[name]
        teacher = None
        if distilled:
            dtype = torch.bfloat16 if options.device.startswith("cuda") else torch.float32
            teacher = load(TARGET.name, dtype=dtype, device=options.device, root=options.out)
        corpus = dataset.load(options.out / "corpus", list(MIXES[member.mix]))
        trainer = Trainer(member, corpus, recipe, device=options.device, teacher=teacher)
        end = trainer.run(options.out / "state" / f"{name}.pt", lambda progress: queue.put((name, progress)))
        facts = {
            "steps": end.step,
            "tokens": end.tokens,
            "seconds": round(end.seconds, 1),
            "text_loss": round(end.loss, 4),
            "held_out_loss": round(trainer.held_out_loss(), 4),
            "distilled_from": TARGET.name if distilled else None,
            "batch": recipe.batch,
            "seed": recipe.seed,
            "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
            "torch": torch.__version__,
        }
        export.write_member(options.out, member, trainer.model, facts)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        queue.put((name, f"{type(error).__name__}: {error}"))
        raise


def _note(progress: Progress) -> str:
    return f"step {progress.step}, {progress.tokens / 1e6:.1f} M tokens, loss {progress.loss:.3f}"


@contextmanager
def _display(names: Sequence[str], say: Say) -> Iterator[Callable[[str, Progress], None]]:
    """Bars on a terminal; elsewhere a line a member every twenty seconds."""
    if not sys.stderr.isatty():
        told: dict[str, float] = {}

        def tell(name: str, progress: Progress) -> None:
            if progress.fraction >= 1.0 or time.monotonic() - told.get(name, 0.0) > 20.0:
                told[name] = time.monotonic()
                say(f"{name}: {progress.fraction:4.0%}, {_note(progress)}")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {name: bars.add_task(name, total=1.0, note="") for name in names}

        def show(name: str, progress: Progress) -> None:
            note = _note(progress)
            bars.update(tasks[name], completed=progress.fraction, note=note)

        yield show


def _train(options: Options, members: Sequence[Member], recipe: Recipe, distilled: bool, say: Say) -> None:
    """Train ``members``, at most ``options.jobs`` at once. Raises RuntimeError when one fails."""
    context = get_context("spawn")
    queue = context.Queue()
    waiting = [m.name for m in members if not (options.out / m.name / "model.safetensors").is_file()]
    running: dict[str, Any] = {}
    failures: list[str] = []
    try:
        with _display(waiting, say) as show:
            while waiting or running:
                while waiting and len(running) < options.jobs:
                    name = waiting.pop(0)
                    running[name] = context.Process(
                        target=_job, args=(options, name, recipe, distilled, queue)
                    )
                    running[name].start()
                for name, process in list(running.items()):
                    process.join(0.05)
                    if process.exitcode is not None:
                        del running[name]
                        if process.exitcode:
                            failures.append(f"{name} (exit code {process.exitcode})")
                while not queue.empty():
                    name, message = queue.get()
                    if isinstance(message, Progress):
                        show(name, message)
                    else:
                        say(f"{name}: {message}")
    except KeyboardInterrupt:
        for process in running.values():
            process.terminate()
        for process in running.values():  # they save and leave
            process.join(30)
        raise
    if failures:
        raise RuntimeError(f"training failed: {', '.join(failures)}; the rest is kept, go on with --resume")


def _same_as_before(options: Options) -> None:
    """What is resumed must have been begun alike: everything that decides the batches."""
    asked = {
        name: getattr(options, name) for name in ("batch", "rows_per_domain", "seed", "steps", "distill")
    }
    path = options.out / "options.json"
    if not path.is_file():
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asked) + "\n", encoding="utf-8")
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    if begun != asked:
        raise InputError(f"{options.out} was begun with {begun}; resume with the same, or use a new folder")


def _prepare(options: Options, say: Say) -> None:
    if options.out.exists() and any(options.out.iterdir()) and not options.resume:
        raise InputError(f"{options.out} is not empty; allowed: an empty or new folder, or --resume")
    if options.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"device {options.device!r}: no CUDA device here; allowed: cpu")
    _same_as_before(options)
    corpus = options.out / "corpus"
    mixes = [find(name).mix for name in options.only] or ["all"]
    domains = dict.fromkeys(domain for mix in mixes for domain in MIXES[mix])
    missing = [domain for domain in domains if not (corpus / f"{domain}.npy").is_file()]
    if missing:
        begun = time.monotonic()
        dataset.generate(missing, options.rows_per_domain, corpus)
        tokens = len(missing) * options.rows_per_domain * dataset.ROW
        say(f"corpus: {tokens / 1e6:.1f} M tokens in {time.monotonic() - begun:.1f} s")


def train_family(options: Options, say: Say = lambda line: print(line, file=sys.stderr, flush=True)) -> Path:
    """Train all members, or those that are asked for; the path of the manifest.

    Raises InputError for a folder in use, no budget, or drafts alone where there is no target to learn from;
    RuntimeError when a member fails.
    """
    begun = time.monotonic()
    if options.steps is None and not options.minutes:
        raise InputError("neither minutes nor steps; give one")
    if options.only and not (options.out / TARGET.name / "model.safetensors").is_file():
        raise InputError(
            f"no {TARGET.name} in {options.out} to learn from; put its checkpoint's folder there"
        )
    _prepare(options, say)
    recipe = Recipe(
        steps=options.steps,
        seconds=60.0 * options.minutes if options.minutes else None,
        batch=options.batch,
        warmup_steps=min(100, max(1, (options.steps or 1000) // 10)),
        distill=options.distill,
        seed=options.seed,
        compile=options.compile,
    )
    distilled = options.distill > 0
    phases: list[tuple[list[Member], float, bool]] = (
        [([TARGET], options.target_share, False), (list(DRAFTS), 1.0, True)]
        if distilled
        else [([TARGET, *DRAFTS], 1.0, False)]
    )
    if options.only:
        phases = [([find(name) for name in options.only], 1.0, distilled)]
    for number, (members, share, with_teacher) in enumerate(phases):
        phase = recipe
        if options.minutes:
            rounds = -(-len(members) // options.jobs)  # drafts one after another share the time
            starts = rounds + sum(-(-len(later) // options.jobs) for later, _, _ in phases[number + 1 :])
            left = 60.0 * options.minutes - (time.monotonic() - begun) - starts * _START_S
            phase = replace(recipe, seconds=max(1.0, left * share / rounds))
        _train(options, members, phase, with_teacher, say)
    manifest = export.write_manifest(options.out, options.command)
    if options.part_mib is not None:
        for part in export.pack(options.out, options.out / "packed", int(options.part_mib * (1 << 20))):
            say(f"packed: {part} ({part.stat().st_size / 1e6:.1f} MB)")
    say(f"done in {time.monotonic() - begun:.1f} s: {manifest}")
    return manifest
