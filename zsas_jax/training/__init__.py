"""Training of the networks: losses, tasks (what is trained on what), and the loop."""
