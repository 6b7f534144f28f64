"""Several processes, on one or several hosts, that train one run."""
