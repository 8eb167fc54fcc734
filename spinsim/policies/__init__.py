"""Every decision, pure: no clock, no I/O, no simpy, no torch, and no sight of the future."""
