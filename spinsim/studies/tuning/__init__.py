"""``spinsim tune``: a search space, trials, and the gain measured on requests kept apart.

May import lab and scenario_file. A new kind of range belongs in ``search_space.py``.
"""
