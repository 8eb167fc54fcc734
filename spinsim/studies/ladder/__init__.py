"""``spinsim ladder``: what each mechanism gains on your scenario, and what the same GPUs do instead.

``steps`` says what each step overrides, ``best`` searches for the best fixed plans, ``ladder`` runs them all.
May import the lab and the scenario's files. A step is added in ``steps``.
"""
