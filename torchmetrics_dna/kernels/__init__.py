"""What numba compiles, and how torch's threads share it; arrays only."""
