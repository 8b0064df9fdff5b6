"""Test bed of rendered clips with exact truth, made from seeds."""
