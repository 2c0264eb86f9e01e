"""Question tables: what users have, read as tasks."""
