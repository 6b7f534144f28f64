"""Results to files and figures."""
