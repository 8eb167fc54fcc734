"""Who leaves the waiting room first."""
