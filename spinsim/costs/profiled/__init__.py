"""Costs from measurements: the profile's file, the fits of its points, and the predictor over both.

May import the rest of costs. A new law for a measured operation belongs in ``fits.py``.
"""
