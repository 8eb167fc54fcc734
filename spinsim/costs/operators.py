"""One forward pass of one model, as a sum over its operators.

Operators run one after the other, and each takes max(bytes / bandwidth, flops / rate), the
roofline of Williams, Waterman and Patterson (CACM 52(4), 2009). What depends on the number of
query tokens alone is computed once per bucket and kept; attention over the cache is closed-form in
KV tokens, so that a prediction costs a look-up and a few multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass

from spinsim.costs.sheets.hardware import Hardware
from spinsim.costs.sheets.shapes import ModelShape, dtype_bytes

# Kernels of one layer. Captured in a graph, as serving engines write it: norm, q/k/v, rotary, cache
# write, attention, its combine, output projection, residual with norm, gate and up, activation, down,
# residual. Eagerly, as transformers writes it: unfused norms, rotary and residuals, three projections.
GRAPH_KERNELS_PER_LAYER = 12
EAGER_KERNELS_PER_LAYER = 36
EXTRA_KERNELS = 4  # embedding, last norm, head, argmax or sampling


def all_reduce_s(size_bytes: float, devices: int, link_bandwidth: float, link_latency_s: float) -> float:
    """Ring all-reduce: 2 (n - 1) steps, each moving size / n bytes.

    Patarasuk and Yuan, JPDC 69(2), 2009; the bandwidth term is the "bus bandwidth" of NCCL's tests.
    NCCL's trees need fewer steps for small messages on many devices: this is then an upper bound.
    """
    if devices == 1:
        return 0.0
    steps = 2 * (devices - 1)
    return steps * (link_latency_s + size_bytes / devices / link_bandwidth)


@dataclass(frozen=True, slots=True)
class AttentionLaw:
    """Attention over the cache, all layers: max(memory, compute), both linear in their counts.

    ``kv_s`` seconds per KV token read, ``query_s`` per query token (its q, its output, its new K
    and V), ``pair_s`` per (query token, KV token) pair multiplied.
    """

    kv_s: float
    query_s: float
    pair_s: float

    def seconds(self, kv_tokens: float, query_tokens: float, pairs: float) -> float:
        """Seconds for so many KV tokens read, query tokens and query-KV pairs."""
        memory = self.kv_s * kv_tokens + self.query_s * query_tokens
        compute = self.pair_s * pairs
        return memory if memory > compute else compute


class PassCosts:
    """A model on ``devices`` equal devices (tensor parallel when more than one).

    ``graphs``: replayed CUDA graphs rather than eager launches. ``efficiency`` replaces the
    sheet's bandwidth and compute efficiencies.
    """

    def __init__(
        self,
        shape: ModelShape,
        dtype: str,
        hardware: Hardware,
        *,
        devices: int = 1,
        graphs: bool = True,
        efficiency: float | None = None,
    ) -> None:
        self.shape, self.hardware, self.devices = shape, hardware, devices
        self.graphs = graphs and hardware.graphs
        self._bytes = dtype_bytes(dtype)
        self._bandwidth = hardware.achieved_bandwidth(efficiency)
        self._rate = hardware.achieved_rate(dtype, efficiency)
        # Heads are split; K/V heads fewer than devices are replicated, as Megatron-style engines do.
        self._heads = -(-shape.heads // devices)
        self._kv_heads = -(-shape.kv_heads // devices)
        self._mlp = -(-shape.intermediate // devices)
        self._vocab = -(-shape.vocab // devices)
        self.overhead_s = self._overhead()
        self.attention = self._attention()
        self._bodies: dict[int, float] = {}
        self._output: dict[int, float] = {}

    @property
    def kernels(self) -> int:
        """Of one pass, one after the other."""
        each = GRAPH_KERNELS_PER_LAYER if self.graphs else EAGER_KERNELS_PER_LAYER
        return self.shape.layers * each + EXTRA_KERNELS

    def _overhead(self) -> float:
        hardware = self.hardware
        if self.graphs:
            return hardware.graph_launch_s + hardware.graph_kernel_s * self.kernels
        return hardware.launch_s * self.kernels

    def _attention(self) -> AttentionLaw:
        layers, dim, size = self.shape.layers, self.shape.head_dim, self._bytes
        return AttentionLaw(
            kv_s=layers * 2 * self._kv_heads * dim * size / self._bandwidth,
            query_s=layers * (2 * self._heads + 2 * self._kv_heads) * dim * size / self._bandwidth,
            pair_s=layers * 4 * self._heads * dim / self._rate,
        )

    def product(self, tokens: int, wide: int, narrow: int) -> float:
        """Seconds of (tokens x wide) times (wide x narrow), operands and result through memory once."""
        moved = (wide * narrow + tokens * (wide + narrow)) * self._bytes
        return max(moved / self._bandwidth, 2.0 * tokens * wide * narrow / self._rate)

    def body(self, tokens: int) -> float:
        """Embedding and layers for ``tokens`` query tokens, attention over the cache apart."""
        cached = self._bodies.get(tokens)
        if cached is None:
            cached = self._bodies[tokens] = self._body(tokens)
        return cached

    def _body(self, tokens: int) -> float:
        shape = self.shape
        hidden, q, kv = shape.hidden, self._heads * shape.head_dim, self._kv_heads * shape.head_dim
        products = (
            self.product(tokens, hidden, q + 2 * kv)
            + self.product(tokens, q, hidden)
            + self.product(tokens, hidden, shape.mlp_inputs * self._mlp)
            + self.product(tokens, self._mlp, hidden)
        )
        # Norms and residuals read and write the hidden state; rotary q and k; gate, up, their product.
        values = (4 + 2 * shape.layer_norms) * hidden + 2 * (q + kv) + (shape.mlp_inputs + 1) * self._mlp
        elementwise = tokens * values * self._bytes / self._bandwidth
        elementwise += shape.bias_parameters() / self.devices * self._bytes / self._bandwidth
        reductions = 1 if shape.parallel else 2  # attention and MLP in parallel are summed together
        reduce = all_reduce_s(
            tokens * hidden * self._bytes,
            self.devices,
            self.hardware.link_bandwidth,
            self.hardware.link_latency_s,
        )
        embedding = 2 * tokens * hidden * self._bytes / self._bandwidth
        return shape.layers * (products + elementwise + reductions * reduce) + embedding

    def output(self, tokens: int) -> float:
        """Head and choice of a token at ``tokens`` positions; tensor parallelism gathers the logits."""
        cached = self._output.get(tokens)
        if cached is None:
            cached = self._output[tokens] = self._head(tokens)
        return cached

    def _head(self, tokens: int) -> float:
        if not tokens:
            return 0.0
        shape, hardware = self.shape, self.hardware
        seconds = self.product(tokens, shape.hidden, self._vocab)
        seconds += tokens * shape.vocab * self._bytes / self._bandwidth  # read again to choose
        if self.devices > 1:  # ring all-gather: n - 1 steps of a shard each
            shard = tokens * self._vocab * self._bytes
            seconds += (self.devices - 1) * (hardware.link_latency_s + shard / hardware.link_bandwidth)
        return seconds

    def merge_s(self, pieces: int) -> float:
        """Log-sum-exp merge of ``pieces`` partial attention outputs (one a query and piece), all layers.

        Each partial output is read in fp32 with its maximum and its sum. (SPIN's decomposition;
        the merge is our reading.)
        """
        values = self.shape.layers * self._heads * (self.shape.head_dim + 2)
        return pieces * values * 4 / self._bandwidth
