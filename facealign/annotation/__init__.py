"""Annotation of photos by trained predictors: their landmarks as .pts files, with how far they agree."""
