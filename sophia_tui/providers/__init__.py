"""The outside world: who trains and who answers."""
