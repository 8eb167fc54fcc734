"""How many micro-batches take turns."""
