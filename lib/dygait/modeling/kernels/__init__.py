"""Exact fast forms of operations whose plain form is elsewhere."""
