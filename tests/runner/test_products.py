"""Matrix products by a chosen algorithm: what needs no GPU of it."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from spinsim.runner.layers import cublaslt, products
from spinsim.runner.layers.cublaslt import Guess, LibraryError
from spinsim.runner.layers.products import Products


def test_on_a_cpu_nothing_is_chosen_and_products_are_torchs() -> None:
    linear = Products()
    x, weight, bias = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5)
    linear.choose(3, [weight])
    assert not linear.chosen
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))


def test_a_guess_has_the_librarys_layout() -> None:
    """Eight words of an algorithm, a size, a state, a count of waves, four words to spare."""
    assert ctypes.sizeof(cublaslt._Guess) == 8 * 8 + 8 + 4 + 4 + 4 * 4


def test_a_guess_of_another_shape_is_refused() -> None:
    guess = Guess(SimpleNamespace(shape=(4, 5, 8), dtype=torch.float32), None, 0, 0.0)
    with pytest.raises(ValueError, match=r"of \(4, 5, 8\), where \(3, 8\) times \(5, 8\)"):
        cublaslt.multiply(torch.zeros(3, 8), torch.zeros(5, 8), guess)


@pytest.mark.parametrize(
    ("took", "kept"), [((1.0, 0.99, 1.2), None), ((1.0, 0.97, 0.9), 1), ((1.0, None, 0.9), 1), ((1.0,), None)]
)
def test_the_fastest_guess_is_taken_where_it_gains(
    monkeypatch: pytest.MonkeyPatch, took: tuple[float | None, ...], kept: int | None
) -> None:
    """``took[0]``: torch's own; None: a guess that the library refuses. Weights are timed as they are."""
    weights = [torch.zeros(5, 8) for _ in range(9)]
    told = [Guess(None, None, number, 0.0) for number in range(len(took) - 1)]
    left = list(took)

    def seconds(product: object, x: torch.Tensor, cold: list[torch.Tensor]) -> float:
        assert x.shape == (3, 8)
        assert len(cold) == products.COLD
        found = left.pop(0)
        if found is None:
            raise LibraryError("no")
        return found

    monkeypatch.setattr(products, "seconds", seconds)
    monkeypatch.setattr(cublaslt, "works", lambda *matrices: True)
    monkeypatch.setattr(cublaslt, "guesses", lambda tokens, weight, most: told)
    linear = Products()
    linear.choose(3, weights)
    linear.choose(3, weights)  # known: nothing is timed again
    assert not left
    assert linear.chosen == ({} if kept is None else {(3, 5, 8): told[kept]})
