"""The command line: one of three faces over the services."""
