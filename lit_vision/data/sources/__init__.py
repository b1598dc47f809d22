"""The sets of images."""
