"""Fast, exact implementations of operations whose plain form is elsewhere."""
