"""Training of one member: AdamW, warm-up and cosine decay over steps or seconds, exact resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from spinsim.family import dataset
from spinsim.family.corpus import MIXES
from spinsim.family.family import Member
from spinsim.family.recipe import Progress, Recipe

Rows = Mapping[str, NDArray[np.uint16]]


def distillation(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean KL(teacher || student) over rows of logits, in nats."""
    log_q = F.log_softmax(student.float(), dim=-1)
    log_p = F.log_softmax(teacher.float(), dim=-1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


class Trainer:
    """The state of one member's training. ``step()`` advances it, ``save``/``restore`` move it to disk."""

    def __init__(
        self,
        member: Member,
        rows: Rows,
        recipe: Recipe,
        *,
        device: str = "cpu",
        teacher: Any = None,
    ) -> None:
        import transformers

        self.member, self.recipe, self.device, self.teacher = member, recipe, torch.device(device), teacher
        self.weights = MIXES[member.mix]
        self.sizes = {domain: len(rows[domain]) for domain in self.weights}
        self._offsets: dict[str, int] = {}
        parts: list[torch.Tensor] = []
        for domain in self.weights:  # int16 holds every id: the vocabulary is far below 2^15
            self._offsets[domain] = sum(len(part) for part in parts)
            parts.append(torch.from_numpy(np.array(rows[domain]).astype(np.int16)))
        self._data = torch.cat(parts).to(self.device)
        torch.manual_seed(recipe.seed)
        library: Any = transformers
        config = library.LlamaConfig(**member.config(), attn_implementation="sdpa")
        self.model: Any = library.LlamaForCausalLM(config).to(self.device)
        self._forward: Any = torch.compile(self.model) if recipe.compile else self.model
        cuda = self.device.type == "cuda"
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=member.learning_rate,
            betas=(0.9, 0.95),
            fused=cuda,
        )
        self.steps_done = 0
        self._spent = 0.0  # seconds of earlier sittings
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._spent + time.monotonic() - self._begun

    @property
    def fraction(self) -> float:
        """How much of the budget is spent, 0 .. 1."""
        by_steps = self.steps_done / self.recipe.steps if self.recipe.steps else 0.0
        by_time = self.seconds / self.recipe.seconds if self.recipe.seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    def _learning_rate(self) -> float:
        warm = min(1.0, (self.steps_done + 1) / self.recipe.warmup_steps)
        return (
            self.member.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.fraction)))
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def step(self) -> torch.Tensor:
        """One update; the text's loss, still on the device."""
        picked = dataset.sample(
            self.sizes, self.weights, self.recipe.batch, self.recipe.seed, self.steps_done
        )
        places = torch.tensor([self._offsets[domain] + index for domain, index in picked])
        ids = self._data[places.to(self.device)].long()
        inputs, labels = ids[:, :-1].contiguous(), ids[:, 1:].reshape(-1)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        with self._autocast():
            logits = self._forward(input_ids=inputs, use_cache=False).logits.flatten(0, 1)
        text = F.cross_entropy(logits.float(), labels)
        loss = text
        if self.teacher is not None:
            with torch.no_grad(), self._autocast():
                wanted = self.teacher(input_ids=inputs, use_cache=False).logits.flatten(0, 1)
            weight = self.recipe.distill
            loss = weight * distillation(logits, wanted) + (1 - weight) * text
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        return text.detach()

    def progress(self, loss: float) -> Progress:
        tokens = self.steps_done * self.recipe.batch * (self._data.shape[1] - 1)
        return Progress(self.steps_done, tokens, self.fraction, loss, self.seconds)

    def save(self, path: Path) -> None:
        """Everything that resumption needs; written beside and moved, so that a kill leaves a whole file."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.steps_done,
            "seconds": self.seconds,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(path)

    def restore(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = int(state["step"])
        self._spent, self._begun = float(state["seconds"]), time.monotonic()

    def run(
        self, state: Path | None = None, report: Callable[[Progress], None] = lambda progress: None
    ) -> Progress:
        """Train until the budget is spent, saving to ``state`` now and then and when interrupted."""
        if state is not None and state.exists():
            self.restore(state)
        self.model.train()
        loss = torch.tensor(math.nan)
        saved = time.monotonic()
        try:
            while self.fraction < 1.0:
                loss = self.step()
                if self.steps_done % 20 == 0 and self.fraction < 1.0:  # reading the loss waits for the device
                    report(self.progress(float(loss)))
                    if state is not None and time.monotonic() - saved > self.recipe.save_every_s:
                        self.save(state)
                        saved = time.monotonic()
        except KeyboardInterrupt:
            if state is not None:
                self.save(state)
            raise
        self.model.eval()
        done = self.progress(float(loss))
        report(done)
        if state is not None:
            self.save(state)
        return done

    @torch.no_grad()
    def held_out_loss(self, rows_per_domain: int = 8) -> float:
        """Nats per token on rows that no model trains on, over the member's mix."""
        total = 0.0
        for domain in self.weights:
            ids = torch.from_numpy(
                dataset.rows(domain, dataset.HELD_OUT_ROWS, rows_per_domain).astype(np.int64)
            )
            ids = ids.to(self.device)
            with self._autocast():
                logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits
            total += float(F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].reshape(-1)))
        return total / len(self.weights)
