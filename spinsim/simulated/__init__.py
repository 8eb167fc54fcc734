"""The world of predicted time."""
