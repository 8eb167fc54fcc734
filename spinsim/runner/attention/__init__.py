"""Attention over the K/V of slots, for all packings: in plain torch and in Triton.

May import the runner's row types. A new kernel stands beside ``in_triton.py`` and is chosen in
``kernels.py``.
"""
