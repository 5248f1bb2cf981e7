"""Measurements side by side with other implementations, each in a process of its own."""
