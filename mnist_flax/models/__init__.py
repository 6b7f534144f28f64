"""The network, and convolutions formulated for the backend in use."""
