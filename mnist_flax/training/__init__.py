"""One run as pure functions, and everything that trains many."""
