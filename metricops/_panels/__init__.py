"""The engine: passes over panels of rows, and the chain rule around them."""
