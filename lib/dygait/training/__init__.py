"""The training loop, its step, and their components."""
