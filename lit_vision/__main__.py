from lit_vision.cli import run

run()
