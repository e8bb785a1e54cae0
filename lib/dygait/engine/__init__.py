"""The engine: from a configuration to objects, and the loops that train and test them."""
