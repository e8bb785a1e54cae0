"""Processing of frames from any source: cleaning masks, normalising and checking frames, heat maps, channels."""
