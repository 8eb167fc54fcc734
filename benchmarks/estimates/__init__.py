"""What is estimated from all that was measured and ships in docs/measurements and profiles/.

``sheet_fit``: the efficiencies of hardware sheets. ``host_prior``: how far another host is from a prediction.
``python -m benchmarks.estimates`` writes both as data of the package; a test holds them current.
"""
