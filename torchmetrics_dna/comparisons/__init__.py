"""Comparisons of image sets: two, many, class by class, over time."""
