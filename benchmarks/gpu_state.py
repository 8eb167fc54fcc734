"""What GPUs are and how they are doing: the package's own reading, under the name that benchmarks know."""

from spinsim.live.gpu_clocks import ABOUT, State, changing, gpu_states, read_states

__all__ = ["ABOUT", "State", "changing", "gpu_states", "read_states"]
