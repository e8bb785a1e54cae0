"""The parts of a run: its folder, checkpoints, events and signals, and building its network and data."""
