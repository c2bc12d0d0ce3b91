"""What runs as root: the helper's own code. Standard library alone, and of ours what is as light."""
