"""Exact fast forms of operations whose plain form stands elsewhere."""
