"""Training loops: checkpoints against one reference, and a callback of Lightning."""
