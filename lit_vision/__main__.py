"""The process of ``lit-vision``, ``python -m lit_vision`` and the scripts."""

# A signal ends the process without a traceback from its first moments on, so this comes before all other imports.
from lit_vision.utils.ending import exit_from_now_on  # isort: skip

exit_from_now_on()

from lit_vision.cli import run  # noqa: E402

__all__ = ["run"]

if __name__ == "__main__":
    run()
