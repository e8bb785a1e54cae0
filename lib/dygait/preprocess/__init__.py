"""Preparation of raw datasets: from pictures and archives to the frames that networks read."""
