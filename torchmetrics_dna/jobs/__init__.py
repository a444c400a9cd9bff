"""Jobs: how image sets are read, measured and shared among processes and machines."""
