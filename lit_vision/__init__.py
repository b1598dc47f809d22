"""lit-vision: train image classifiers with PyTorch Lightning."""
