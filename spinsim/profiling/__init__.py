"""Measuring a machine into a profile, through the runners that live runs use."""
