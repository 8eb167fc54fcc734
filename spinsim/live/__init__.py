"""The world of real time: lanes, clock and real models."""
