"""The command ``lit-vision fit`` as a script: python scripts/fit.py --config cifar.yaml."""

import sys

from lit_vision.cli import main

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:]]))
