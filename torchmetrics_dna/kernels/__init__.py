"""Numba kernels on arrays, and their parallel execution in torch's threads."""
