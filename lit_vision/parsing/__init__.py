"""Command lines and YAML files become data, model and Trainer."""
