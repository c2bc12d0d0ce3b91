"""Routes, named for whose protocol they speak."""
