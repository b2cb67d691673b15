"""Helpers for any PyTorch module: copies, modes, inputs, and what it computes."""
