"""The smoke benchmarks: who solves them, who cannot, and what their audit finds."""
