"""The Textual console: one of three faces over the services."""
