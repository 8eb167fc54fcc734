"""Training learns, resumes bit for bit, and never shows held-out text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spinsim.errors import InputError
from spinsim.family import dataset, export, family
from spinsim.family.corpus import HELD_OUT, MIXES, document
from spinsim.family.family import Member
from spinsim.family.tokenizer import encode
from spinsim.family.train import Options, train_family
from spinsim.family.trainer import Progress, Recipe, Trainer, distillation

MINI = Member("mini", 32, 1, 1, 1, 32, "maths", "llama-68m", 1e-2)


@pytest.fixture(scope="module")
def corpus() -> dict[str, np.ndarray]:
    return {domain: dataset.rows(domain, 0, 6)[:, :65] for domain in ("arithmetic", "sorting", "sequences")}


def test_rows_are_addressable_and_packed() -> None:
    rows = dataset.rows("sorting", 3, 2)
    assert rows.shape == (2, dataset.ROW)
    assert rows.dtype == np.uint16
    assert rows[1].tolist() == dataset.row("sorting", 4)
    first = encode(document("sorting", 3 * 64))
    assert rows[0].tolist()[: len(first)] == first[: dataset.ROW]
    assert dataset.HELD_OUT_ROWS * 64 >= HELD_OUT


def test_generated_files_equal_the_rows(tmp_path: Path) -> None:
    seen: list[float] = []
    dataset.generate(["sorting", "json"], 3, tmp_path, workers=1, report=seen.append)
    loaded = dataset.load(tmp_path, ["sorting", "json"])
    assert np.array_equal(loaded["json"], dataset.rows("json", 0, 3))
    assert seen[-1] == 1.0


def test_batches_follow_the_mix_and_the_step_alone() -> None:
    sizes, weights = {"a": 10, "b": 5}, {"a": 3.0, "b": 1.0}
    picked = dataset.sample(sizes, weights, 4000, seed=1, step=7)
    assert picked == dataset.sample(sizes, weights, 4000, seed=1, step=7)
    assert picked != dataset.sample(sizes, weights, 4000, seed=1, step=8)
    assert all(0 <= index < sizes[domain] for domain, index in picked)
    assert abs(sum(domain == "a" for domain, _ in picked) / 4000 - 0.75) < 0.03


def test_loss_falls_and_schedule_ends(corpus: dict[str, np.ndarray]) -> None:
    seen: list[Progress] = []
    trainer = Trainer(MINI, corpus, Recipe(steps=80, batch=8, warmup_steps=5))
    first = float(trainer.step())
    end = trainer.run(report=seen.append)
    assert end.step == 80
    assert end.fraction == 1.0
    assert end.loss < 0.75 * first
    assert [progress.step for progress in seen] == [20, 40, 60, 80]


def test_time_budget_ends_training(corpus: dict[str, np.ndarray]) -> None:
    trainer = Trainer(MINI, corpus, Recipe(seconds=0.2, batch=2))
    assert trainer.run().fraction == 1.0
    assert trainer.steps_done >= 1


def test_resumption_is_exact(corpus: dict[str, np.ndarray], tmp_path: Path) -> None:
    recipe = Recipe(steps=12, batch=4, warmup_steps=3)
    whole = Trainer(MINI, corpus, recipe)
    whole.run()

    broken = Trainer(MINI, corpus, recipe)
    for _ in range(5):
        broken.step()
    broken.save(tmp_path / "state.pt")
    resumed = Trainer(MINI, corpus, recipe)
    resumed.run(tmp_path / "state.pt")
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_interruption_saves(corpus: dict[str, np.ndarray], tmp_path: Path) -> None:
    trainer = Trainer(MINI, corpus, Recipe(steps=1000, batch=2))

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run(tmp_path / "state.pt", interrupt)
    again = Trainer(MINI, corpus, Recipe(steps=1000, batch=2))
    again.restore(tmp_path / "state.pt")
    assert again.steps_done == 20


def test_distillation_is_the_divergence() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(7, 11), torch.randn(7, 11)
    p, q = teacher.softmax(-1), student.softmax(-1)
    assert torch.allclose(distillation(student, teacher), (p * (p / q).log()).sum(-1).mean(), atol=1e-6)
    assert float(distillation(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)


def test_a_draft_approaches_its_teacher(corpus: dict[str, np.ndarray]) -> None:
    """The teacher's probabilities have nothing to do with the text, so only distillation finds them."""
    teacher = Trainer(MINI, corpus, Recipe(steps=1)).model.eval()
    teacher.lm_head.weight.data *= 20
    ids = torch.from_numpy(corpus["sorting"].astype(np.int64))

    def divergence(distill: float) -> float:
        recipe = Recipe(steps=40, batch=4, warmup_steps=5, distill=distill, seed=9)
        student = Trainer(MINI, corpus, recipe, teacher=teacher)
        student.run()
        with torch.no_grad():
            return float(
                distillation(student.model(ids).logits.flatten(0, 1), teacher(ids).logits.flatten(0, 1))
            )

    assert divergence(1.0) < 0.6 * divergence(0.0)


def test_recipe_needs_an_end() -> None:
    with pytest.raises(ValueError, match="steps or seconds"):
        Recipe()


def test_family_is_declared_within_its_budget() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    total = 0
    for member in family.MEMBERS.values():
        with torch.device("meta"):
            total += sum(p.numel() for p in LlamaForCausalLM(LlamaConfig(**member.config())).parameters()) * 2
    assert total < family.BUDGET_BYTES
    assert len(family.DRAFTS) >= 5
    assert len({draft.mix for draft in family.DRAFTS}) >= 3


def test_every_member_fits_its_shape_and_the_target_the_large_ones() -> None:
    from spinsim.costs.sheets.shapes import shape_of
    from spinsim.family.widen import place_heads

    pairs = [(member, member.stands_for) for member in family.MEMBERS.values()]
    pairs += [(family.TARGET, name) for name in ("llama-7b", "llama-13b", "llama-3-8b", "llama-3-70b")]
    pairs += [
        (draft, name)
        for draft in family.DRAFTS
        for name in ("llama-265m", "llama-616m", "llama-1.1b", "llama-1.4b")
    ]
    for member, name in pairs:
        shape = shape_of(name)
        place_heads(member.heads, member.kv_heads, shape.heads, shape.kv_heads)
        assert member.layers <= shape.layers
        assert shape.head_dim % 32 == 0


def test_unknown_and_untrained_members(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown family member 'huge'; allowed: target, tiny"):
        family.folder("huge")
    with pytest.raises(InputError, match="no weights of family member 'tiny'"):
        family.folder("tiny", tmp_path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("family")
    member = family.MEMBERS["tiny"]
    rows = {domain: dataset.rows(domain, 0, 1)[:, :33] for domain in MIXES[member.mix]}
    trainer = Trainer(member, rows, Recipe(steps=1, batch=1))
    trainer.run()
    export.write_member(root, member, trainer.model, {"steps": 1})
    export.write_manifest(root, "test")
    return root


def changed_files(root: Path) -> list[str]:
    """What under ``root`` does not match its manifest: empty when all is well."""
    manifest = json.loads((root / export.MANIFEST).read_text(encoding="utf-8"))
    wrong = [
        name
        for name, entry in manifest["members"].items()
        if not (root / name / "model.safetensors").is_file()
        or export.sha256(root / name / "model.safetensors") != entry["sha256"]
    ]
    if export.sha256(root / "tokenizer.json") != manifest["tokenizer_sha256"]:
        wrong.append("tokenizer.json")
    return wrong


def test_exported_member_loads_and_is_checked(exported: Path) -> None:
    manifest = json.loads((exported / export.MANIFEST).read_text())
    assert manifest["members"]["tiny"]["training"] == {"steps": 1}
    assert changed_files(exported) == []
    model = family.load("tiny", dtype=torch.float32, root=exported)
    ids = torch.arange(20)[None]
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(exported / "tiny", dtype=torch.float32)
    assert torch.equal(model(ids).logits, other(ids).logits)
    half = family.load("tiny", dtype=torch.bfloat16, root=exported)
    assert half.model.rotary_emb.inv_freq.dtype == torch.float32


def test_packed_parts_unpack(exported: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    parts = export.pack(exported, tmp_path, 300_000)
    assert len(parts) > 1
    assert all(part.stat().st_size <= 300_000 for part in parts)
    with tarfile.open(fileobj=io.BytesIO(b"".join(part.read_bytes() for part in parts))) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    assert changed_files(tmp_path / "out") == []
    weights = tmp_path / "out" / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert changed_files(tmp_path / "out") == ["tiny"]


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("x")
    with pytest.raises(InputError, match="is not empty; allowed: an empty or new folder, or --resume"):
        train_family(Options(out=tmp_path, steps=1, minutes=None))


def test_resuming_otherwise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "options.json").write_text('{"batch": 1}')
    with pytest.raises(InputError, match="was begun with"):
        train_family(Options(out=tmp_path, steps=1, minutes=None, resume=True))


def test_a_budget_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither minutes nor steps"):
        train_family(Options(out=tmp_path / "new", steps=None, minutes=None))


def test_drafts_alone_need_a_target_to_learn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the time is theirs, and their domains are all that is generated."""
    from spinsim.family import train

    with pytest.raises(InputError, match="no target in"):
        train_family(Options(out=tmp_path, minutes=5.0, only=("prose",)))
    asked: list[tuple[list[str], float]] = []
    generated: list[str] = []
    monkeypatch.setattr(
        train,
        "_train",
        lambda _, members, recipe, *more: asked.append(([m.name for m in members], recipe.seconds)),
    )
    monkeypatch.setattr(train.dataset, "generate", lambda domains, *more: generated.extend(domains))
    (tmp_path / "target").mkdir()
    for name in ("model.safetensors", "training.json"):
        (tmp_path / "target" / name).write_text("{}")
    train_family(Options(out=tmp_path, minutes=5.0, only=("prose",), resume=True))
    assert asked == [(["prose"], pytest.approx(300 - 12, abs=2))]
    assert set(generated) == {"stories", "backwards", "recall", "inventory"}


def test_minutes_are_shared_among_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus, the start of processes and both phases fit into the asked time."""
    from spinsim.family import train

    asked: list[tuple[list[str], float, bool]] = []

    def fake(options: Options, members: list[Member], recipe: Recipe, distilled: bool, say: object) -> None:
        assert recipe.seconds is not None
        asked.append(([member.name for member in members], recipe.seconds, distilled))

    monkeypatch.setattr(train, "_train", fake)
    monkeypatch.setattr(train.dataset, "generate", lambda *arguments: None)
    train_family(Options(out=tmp_path / "new", minutes=5.0, target_share=0.6))
    (target, first, alone), (drafts, second, distilled) = asked
    assert target == ["target"]
    assert not alone
    assert drafts == [draft.name for draft in family.DRAFTS]
    assert distilled
    assert first == pytest.approx(0.6 * (300 - 24), abs=2)
    assert second == pytest.approx(300 - 12, abs=2)  # the fake target took no time
    one_by_one: list[float] = []
    monkeypatch.setattr(train, "_train", lambda o, m, recipe, d, s: one_by_one.append(recipe.seconds))
    train_family(Options(out=tmp_path / "serial", minutes=5.0, jobs=1))
    assert one_by_one[1] == pytest.approx((300 - 5 * 12) / 5, abs=2)
