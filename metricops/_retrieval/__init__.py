"""Search, and how good it is."""
