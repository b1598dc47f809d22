"""Helpers for files, messages, memory, precision, and private parts of Lightning and torch."""
