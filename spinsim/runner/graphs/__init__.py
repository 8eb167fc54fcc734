"""CUDA graphs of the passes: capture, fixed buffers, and one module for each kind of pass.

May import the rest of the runner. ``runner.py`` replays them, and falls back to the plain path where none
fits.
"""
