"""The HTTP API: one of three faces over the services."""
