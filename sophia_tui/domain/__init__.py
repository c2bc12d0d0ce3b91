"""Plain data of the field, and the protocols services rely on; imports nothing of ours."""
