"""The command ``lit-vision fit`` as a script: python scripts/fit.py --config cifar.yaml."""

from lit_vision.__main__ import run

if __name__ == "__main__":
    run("fit")
