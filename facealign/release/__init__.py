"""Weights as they are released, and the plan that makes them all anew."""
