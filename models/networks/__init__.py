"""Networks in torch for published weights.

Imported only where a model is loaded.
"""
