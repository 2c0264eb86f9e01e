"""The tools, one file of tests each."""
