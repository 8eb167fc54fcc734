"""Measuring a machine into a profile, through the runners that live runs use.

May import live, runner, costs and results. A new thing to measure is a module here, called by
``studies/profile.py``.
"""
