"""The checks of the set-up, by subject: each finds one condition, and none knows of another."""
