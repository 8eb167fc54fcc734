"""Does the mean of a growing sample differ from a value? An answer that may be asked for at any time."""

from __future__ import annotations

from math import log


class Evidence:
    """The t-test as an e-process: one may look after every observation and stop when it is sure.

    For Gaussian observations whose effect size (mean over standard deviation) has the prior N(0, 1/c):

        e = sqrt(c / (n + c)) ((n + c) V / ((n + c) V - S^2))^(n/2)

    with c = ``spread``, and S and V the sums of the n observations and of their squares, the tested value
    taken off each. Where that value is the mean, e ever exceeds 1/a with probability at most a (Wang &
    Ramdas, arXiv 2310.03722). O(1) a step.
    """

    __slots__ = ("count", "spread", "squares", "total")

    def __init__(self, spread: float = 0.25) -> None:
        self.spread = spread
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, value: float) -> None:
        """One more observation."""
        self.count += 1
        self.total += value
        self.squares += value * value

    @property
    def mean(self) -> float:
        """Of the observations; there must be one."""
        return self.total / self.count

    def log_e(self, mean: float) -> float:
        """ln e against the hypothesis that the true mean is ``mean``; 0 where nothing speaks."""
        n, c = self.count, self.spread
        total = self.total - n * mean
        # Never below what their sum implies, whatever rounding did.
        squares = max(self.squares - 2 * mean * self.total + n * mean * mean, total * total / max(n, 1))
        if squares <= 0.0:
            return 0.0
        share = total * total / ((n + c) * squares)
        return 0.5 * log(c / (n + c)) - 0.5 * n * log(1.0 - share)

    def below(self, mean: float, error: float) -> bool:
        """Is the true mean surely below ``mean``? Where it is ``mean``, the answer is ever yes with
        probability at most ``error``: e knows no side, and errs on either half the time."""
        return self.count > 0 and self.mean < mean and self.log_e(mean) >= -log(2 * error)

    def above(self, mean: float, error: float) -> bool:
        """The other side of :meth:`below`."""
        return self.count > 0 and self.mean > mean and self.log_e(mean) >= -log(2 * error)
