"""What the arguments of a call become."""
