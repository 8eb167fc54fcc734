"""What an operation costs: hardware sheets, profiles, predictors, and the bucketing rule."""
