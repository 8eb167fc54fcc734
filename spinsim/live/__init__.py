"""The world of real time: lanes, clock, and models in memory.

May import engine, runner, family and costs. Never imports ``simulated``.
"""
