"""Evaluation: errors of landmarks, figures computed from them, and reports."""
