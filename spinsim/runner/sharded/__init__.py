"""One model over several devices of a machine: tensor parallelism, a process for each device but the first.

``shape.py`` says who holds what, ``weights.py`` reads it, ``decoder.py`` computes with it, ``collectives``
carry what devices tell each other.
``leader.py`` is the runner that a lane calls; it tells the other ranks each call through ``calls.py`` and
``ring.py``, and ``follower.py`` is what they do. ``ranks.py`` starts, watches and ends their processes.
May import the rest of the runner.
"""
