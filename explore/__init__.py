"""Tools for finished data sets.

They read outputs only and know no Beam.
"""
