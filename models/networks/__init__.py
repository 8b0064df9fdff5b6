"""Networks in torch whose published weights this program runs itself. Imported only where a model is loaded."""
