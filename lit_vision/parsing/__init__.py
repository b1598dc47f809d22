"""Turn command lines and YAML files into data, model and Trainer."""
