"""Scoring by protocol: worked examples of each rule, and the numbers that they add up to."""
