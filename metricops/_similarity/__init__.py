"""Similarities and distances of rows."""
