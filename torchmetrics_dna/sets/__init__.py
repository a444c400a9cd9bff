"""Image sets: measure, make, compare and rank them."""
