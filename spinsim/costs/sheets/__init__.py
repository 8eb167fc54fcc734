"""Published facts: what a hardware does at most, and the shape of a model.

May import errors only. A new device belongs in ``hardware.py``, a new architecture in ``shapes.py``.
"""
