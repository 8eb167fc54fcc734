"""One model on its device: loading, K/V, attention, drafting, verification, and CUDA graphs.

Imports torch, costs' buckets and shapes, and nothing of the engine. ``eager.py`` is the plain path,
``graphs/`` the captured one.
"""
