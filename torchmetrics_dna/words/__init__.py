"""Differences between sets, and the sentences on them."""
