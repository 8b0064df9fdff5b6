"""Helpers around the program: what a user starts once, by hand."""
