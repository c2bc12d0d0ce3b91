"""Postgres: the own store, the owner's source, the embedded server."""
