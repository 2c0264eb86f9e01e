"""Planes and slabs of volumes: where they lie in the patient, and what is said of them."""
