"""The page under measurement, and its pictures."""
