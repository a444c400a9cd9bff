"""Settings of the C library."""
