"""Sophia: the console from which a small team runs the life of its own assistant model."""

__version__ = "0.1.0"
