"""Many runs: cells, where they run, how they are stored, and what repetitions allow one to say.

May import serving, results and what lies below. A new place to run cells stands beside ``pool.py``.
"""
