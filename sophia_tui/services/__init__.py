"""All behaviour: one module per subject; a face only calls it."""
