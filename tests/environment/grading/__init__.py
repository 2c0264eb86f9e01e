"""Grading: the answer kinds, and what edits of an answer do to its grade."""
