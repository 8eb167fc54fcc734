"""One forward pass of one model, as a sum over its operators.

Operators run one after the other, and each takes max(bytes / bandwidth, flops / rate), the
roofline of Williams, Waterman and Patterson (CACM 52(4), 2009). Around its ridge a matrix product takes
longer, since loads and products hide each other in part: there the two are added as ``Hardware.ridge`` says.
What depends on the number of query tokens alone is computed once per bucket and kept; attention over the
cache is closed-form in KV tokens, so that a prediction costs a look-up and a few multiplications.

Experts, latent attention, windows and quantized weights have laws of their own here. None of them was ever
compared with a machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from spinsim.costs.sheets.hardware import Hardware, of_large_operators, without_collectives
from spinsim.costs.sheets.model_shape import Experts, LatentAttention
from spinsim.costs.sheets.quantization import WEIGHT_BYTES
from spinsim.costs.sheets.shapes import ModelShape, dtype_bytes

# Kernels of one layer. Captured in a graph, as serving engines write it: norm, q/k/v, rotary, cache
# write, attention, its combine, output projection, residual with norm, gate and up, activation, down,
# residual. Eagerly, as transformers writes it: unfused norms, rotary and residuals, three projections.
GRAPH_KERNELS_PER_LAYER = 12
EAGER_KERNELS_PER_LAYER = 36
BEST_BYTES = 8  # of a device's most likely token: its logit in fp32, and its id
EXTRA_KERNELS = 4  # embedding, last norm, head, argmax or sampling
EXPERT_KERNELS = (
    4  # of a layer of experts besides: router, choice of experts, sort by expert, weighted sum; ours
)


def experts_touched(experts: Experts, tokens: int) -> float:
    """Experts of a layer that ``tokens`` tokens are sent to, in the mean: n (1 - (1 - k/n)^tokens).

    Each token chooses ``active`` of ``count`` experts, all sets alike and independently of the other tokens.
    Tokens of one request choose alike more often, so that fewer experts are touched: the law is an upper
    bound, reached by many requests of different text. (Counted so in Cascade, arXiv 2506.20675.)
    """
    return float(experts.count * (1.0 - (1.0 - experts.active / experts.count) ** tokens))


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
        """Seconds for so many KV tokens read, query tokens and query-KV pairs, by the whole device."""
        memory = self.kv_s * kv_tokens + self.query_s * query_tokens
        compute = self.pair_s * pairs
        return memory if memory > compute else compute


class PassCosts:
    """A model on ``devices`` equal devices (tensor parallel when more than one).

    ``graphs``: replayed CUDA graphs rather than eager launches. ``efficiency`` replaces the
    sheet's bandwidth and compute efficiencies. ``quantization`` ("fp8" or "int4") is how the layers'
    matrices are stored, else the shape's own; ``kv_fp8``: K and V are kept in a byte. ``greedy``: of several
    devices each tells the others its most likely token, else its part of the logits.

    ``row_s``: seconds a KV token of a row that a program reads alone, all layers. Where a kernel does not cut
    rows, a pass waits for its longest one, however little is read in all.
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
        quantization: str = "",
        kv_fp8: bool = False,
        greedy: bool = False,
    ) -> None:
        self.shape, self.hardware, self.devices = shape, hardware, devices
        self._greedy = greedy
        self._on = partial(
            PassCosts,
            shape,
            dtype,
            devices=devices,
            graphs=graphs,
            efficiency=efficiency,
            quantization=quantization,
            kv_fp8=kv_fp8,
            greedy=greedy,
        )
        self.graphs = graphs and hardware.graphs
        method = quantization or shape.quantization
        self._bytes = dtype_bytes(dtype)
        self._weight_bytes = WEIGHT_BYTES.get(method, self._bytes)
        self._kv_bytes = 1 if kv_fp8 else self._bytes
        self._bandwidth = hardware.achieved_bandwidth(efficiency)
        self._kv_bandwidth = hardware.achieved_bandwidth(efficiency or hardware.kv_efficiency)
        self._rate = hardware.achieved_rate(dtype, efficiency)
        self._prompt_rate = hardware.achieved_rate(dtype, efficiency or hardware.prompt_attention_efficiency)
        # int4 weights are multiplied in the dtype; fp8 at its own rate, where the device has one.
        fast = method == "fp8" and "fp8" in hardware.rate
        self._layer_rate = hardware.achieved_rate("fp8", efficiency) if fast else self._rate
        # Heads are split; K/V heads fewer than devices are replicated, as Megatron-style engines do.
        self._heads = -(-shape.heads // devices)
        self._kv_heads = -(-shape.kv_heads // devices)
        self._mlp = -(-shape.intermediate // devices)
        self._vocab = -(-shape.vocab // devices)
        self._windowed = shape.window.layers / shape.layers if shape.window is not None else 0.0
        self._window = shape.window.tokens if shape.window is not None else 0
        self.overhead_s = self._overhead()
        self.attention = self._attention()
        self.row_s = shape.layers * hardware.row_token_s
        self.operation_s = hardware.operation_s if self.graphs else 0.0
        self.prompt_attention = self._prompt_attention()
        self._bodies: dict[int, float] = {}
        self._output: dict[int, float] = {}

    @property
    def kernels(self) -> int:
        """Of one pass, one after the other."""
        each = GRAPH_KERNELS_PER_LAYER if self.graphs else EAGER_KERNELS_PER_LAYER
        mixtures = self.shape.experts.layers if self.shape.experts is not None else 0
        return self.shape.layers * each + mixtures * EXPERT_KERNELS + EXTRA_KERNELS

    def of_large_operators(self) -> PassCosts:
        """The same model on the same devices, as if every operator reached what large ones do."""
        return self._on(of_large_operators(self.hardware))

    def of_work(self) -> PassCosts:
        """As :meth:`of_large_operators`, and as if its devices' sums and gatherings took nothing."""
        return self._on(without_collectives(of_large_operators(self.hardware)))

    @property
    def windowed(self) -> bool:
        """Do some layers attend within a window?"""
        return self._windowed > 0

    def seen(self, context: float) -> float:
        """KV tokens of a context that a layer reads, in the mean over the layers: a window hides the rest."""
        hidden = context - self._window
        return context - self._windowed * hidden if hidden > 0 else context

    def _overhead(self) -> float:
        hardware = self.hardware
        if self.graphs:
            return hardware.graph_launch_s + hardware.graph_kernel_s * self.kernels
        return hardware.launch_s * self.kernels

    def _attention(self) -> AttentionLaw:
        layers, dim, size = self.shape.layers, self.shape.head_dim, self._bytes
        latent = self.shape.latent
        if latent is not None:
            return self._latent_steps(latent)
        return AttentionLaw(
            kv_s=layers * 2 * self._kv_heads * dim * self._kv_bytes / self._kv_bandwidth,
            query_s=layers * (2 * self._heads + 2 * self._kv_heads) * dim * size / self._bandwidth,
            pair_s=layers * 4 * self._heads * dim / self._rate,
        )

    def _latent_steps(self, latent: LatentAttention) -> AttentionLaw:
        """Queries are multiplied into the latent's space; every head reads the one latent (DeepSeek-V2)."""
        layers, wide = self.shape.layers, latent.kv_rank + latent.rope
        values = self._heads * (wide + latent.kv_rank) + wide
        return AttentionLaw(
            kv_s=layers * wide * self._kv_bytes / self._kv_bandwidth,
            query_s=layers * values * self._bytes / self._bandwidth,
            pair_s=layers * 2 * self._heads * (wide + latent.kv_rank) / self._rate,
        )

    def _prompt_attention(self) -> AttentionLaw:
        """Of many new tokens. Latent attention multiplies them in the heads' own widths: keys and values are
        made from the latents first."""
        shape, latent = self.shape, self.shape.latent
        widths = 2 * shape.head_dim if latent is None else latent.nope + latent.rope + latent.value
        pair_s = shape.layers * 2 * self._heads * widths / self._prompt_rate
        return AttentionLaw(self.attention.kv_s, self.attention.query_s, pair_s)

    def product(self, tokens: int, wide: int, narrow: int) -> float:
        """Seconds of (tokens x wide) times (wide x narrow), operands and result through memory once."""
        moved = (wide * narrow + tokens * (wide + narrow)) * self._bytes
        return self._overlapped(moved / self._bandwidth, 2.0 * tokens * wide * narrow / self._rate)

    def _matrix(self, tokens: float, wide: int, narrow: int, copies: float = 1.0) -> float:
        """As :meth:`product` with a layer's matrix, which may be quantized; ``copies`` of it are read."""
        moved = copies * wide * narrow * self._weight_bytes + tokens * (wide + narrow) * self._bytes
        return self._overlapped(moved / self._bandwidth, 2.0 * tokens * wide * narrow / self._layer_rate)

    def _overlapped(self, memory: float, compute: float) -> float:
        """Seconds of loads and products that hide each other but for what the ridge says."""
        more, less = (memory, compute) if memory > compute else (compute, memory)
        if not less or math.isinf(self.hardware.ridge):
            return more
        ridge: float = self.hardware.ridge
        return more * float((1.0 + (less / more) ** ridge) ** (1.0 / ridge))

    def body(self, tokens: int) -> float:
        """Embedding and layers for ``tokens`` query tokens, attention over the cache apart."""
        cached = self._bodies.get(tokens)
        if cached is None:
            cached = self._bodies[tokens] = self._body(tokens)
        return cached

    def _body(self, tokens: int) -> float:
        shape = self.shape
        hidden, q, kv = shape.hidden, self._heads * shape.head_dim, self._kv_heads * shape.head_dim
        inputs, experts = shape.mlp_inputs, shape.experts
        products = self._projections(tokens, hidden, q, kv)
        if experts is None:
            products += self._matrix(tokens, hidden, inputs * self._mlp)
            products += self._matrix(tokens, self._mlp, hidden)
        else:
            share = experts.layers / shape.layers
            dense = self._matrix(tokens, hidden, inputs * self._mlp) + self._matrix(tokens, self._mlp, hidden)
            products += (1.0 - share) * dense + share * self._mixture(experts, tokens)
        # Norms and residuals read and write the hidden state; rotary q and k; gate, up, their product.
        values = (4 + 2 * shape.layer_norms) * hidden + 2 * (q + kv) + (inputs + 1) * self._mlp
        elementwise = tokens * values * self._bytes / self._bandwidth
        elementwise += shape.bias_parameters() / self.devices * self._bytes / self._bandwidth
        reductions = 1 if shape.parallel else 2  # attention and MLP in parallel are summed together
        link, size = self.hardware.interconnect, tokens * hidden * self._bytes
        reduce = link.all_reduce_s(size, self.devices, normed=True)
        # The table of embeddings is split by tokens: what one device finds, the others have to be told.
        embedding = 2 * size / self._bandwidth + link.all_reduce_s(size, self.devices)
        return shape.layers * (products + elementwise + reductions * reduce) + embedding

    def _projections(self, tokens: int, hidden: int, q: int, kv: int) -> float:
        latent = self.shape.latent
        if latent is None:
            return self._matrix(tokens, hidden, q + 2 * kv) + self._matrix(tokens, q, hidden)
        # Ranks are of no head: every device multiplies into them. What is of a head is split.
        heads, rank = self._heads, latent.query_rank
        seconds = self._matrix(tokens, hidden, latent.kv_rank + latent.rope)
        seconds += self._matrix(tokens, rank or hidden, heads * (latent.nope + latent.rope))
        seconds += self._matrix(tokens, hidden, rank) if rank else 0.0
        seconds += self._matrix(tokens, latent.kv_rank, heads * (latent.nope + latent.value))
        return seconds + self._matrix(tokens, heads * latent.value, hidden)

    def _mixture(self, experts: Experts, tokens: int) -> float:
        """Router, the experts that the tokens are sent to (each read once), and those of all tokens."""
        hidden, inputs = self.shape.hidden, self.shape.mlp_inputs
        wide, shared = -(-experts.intermediate // self.devices), -(-experts.shared // self.devices)
        touched, rows = experts_touched(experts, tokens), tokens * experts.active
        seconds = self.product(tokens, hidden, experts.count)
        seconds += self._matrix(rows, hidden, inputs * wide, touched)
        seconds += self._matrix(rows, wide, hidden, touched)
        if shared:
            seconds += self._matrix(tokens, hidden, inputs * shared) + self._matrix(tokens, shared, hidden)
        return seconds

    def output(self, tokens: int) -> float:
        """Head and choice of a token at ``tokens`` positions; several devices gather what they found."""
        cached = self._output.get(tokens)
        if cached is None:
            cached = self._output[tokens] = self._head(tokens)
        return cached

    def _head(self, tokens: int) -> float:
        if not tokens:
            return 0.0
        shape = self.shape
        seconds = self.product(tokens, shape.hidden, self._vocab)
        read, told = (self._vocab, BEST_BYTES) if self._greedy else (shape.vocab, self._vocab * self._bytes)
        seconds += tokens * read * self._bytes / self._bandwidth  # logits are read again to choose
        return seconds + self.hardware.interconnect.all_gather_s(tokens * told, self.devices)

    @property
    def merging(self) -> tuple[int, float]:
        """Bytes of a partial attention output, all layers, and the bandwidth that reads them."""
        return self.shape.layers * self._heads * (self.shape.head_dim + 2) * 4, self._bandwidth

    def merge_s(self, pieces: int) -> float:
        """Log-sum-exp merge of ``pieces`` partial attention outputs (one a query and piece), all layers.

        Each partial output is read in fp32 with its maximum and its sum. (SPIN's decomposition;
        the merge is our reading.)
        """
        values, bandwidth = self.merging
        return pieces * values / bandwidth
