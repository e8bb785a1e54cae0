"""What a first user with a GPU runs."""
