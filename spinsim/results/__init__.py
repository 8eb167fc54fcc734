"""A run kept: its metrics, summary, tables, timeline and folder, and reading them back.

May import engine records and costs' labels. A new number belongs in ``metrics.py``.
"""
