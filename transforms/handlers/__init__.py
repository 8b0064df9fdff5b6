"""Thin Beam `ModelHandler` classes around the models."""
