"""What an operation costs: hardware sheets, profiles, predictors, and the bucketing rule.

May import scenario and errors. A new cost model is a module here that answers ``base.py``'s questions;
``for_scenario.py`` picks it.
"""
