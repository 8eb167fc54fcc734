"""``python -m spinsim``."""

from spinsim.cli import main

main()
