"""Weight conversion, and checkpoints."""
