"""Published facts: what a hardware does at most, and the shape of a model.

May import errors only. A new device belongs in ``hardware.py``, a named shape in ``shapes.py``, an
architecture whose config.json shall be understood in ``architectures.py``.
"""
