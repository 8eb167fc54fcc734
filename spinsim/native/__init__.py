"""A whole simulation in C, where the system has a compiler: the same records as the Python engine's, sooner.

``kernel/`` repeats the engine, its world and the policies that are used most, and asks Python for the rest.
:func:`~spinsim.native.fits.fits` says of a run what it does not cover. The Python engine is the truth:
records are the same, byte for byte.
"""
