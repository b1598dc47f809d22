"""The measurements of benchmark.py."""
