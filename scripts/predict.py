"""The command ``lit-vision predict`` as a script: python scripts/predict.py --ckpt_path best --images FOLDER."""

import sys

from lit_vision.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
