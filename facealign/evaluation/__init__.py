"""Errors of landmarks, figures made of them, and reports."""
