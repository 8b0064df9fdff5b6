"""Configuration profiles that ship with the program, as YAML files."""
