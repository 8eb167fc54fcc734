"""How fast the simulator is: ``make bench``, or ``python -m benchmarks --help``."""
