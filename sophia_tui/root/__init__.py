"""What runs as root: the helper's own code. Needs the standard library alone."""
