"""Release of weights: model cards, and the plan that reproduces all released weights."""
