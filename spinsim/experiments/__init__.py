"""What researchers do with the engine: simulate, run, compare, search."""
