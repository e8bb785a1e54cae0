"""The training loop, its step, and what takes part in them."""
