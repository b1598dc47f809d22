"""The command ``lit-vision fit`` as a script: python scripts/fit.py --config cifar.yaml."""

from lit_vision.cli import run

if __name__ == "__main__":
    run("fit")
