"""The command ``lit-vision predict`` as a script: python scripts/predict.py --ckpt_path best --images FOLDER."""

from lit_vision.__main__ import run

if __name__ == "__main__":
    run("predict")
