"""Files: atomic writes, the npz container, downloads."""
