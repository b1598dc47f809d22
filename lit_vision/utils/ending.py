"""The signals that ask a process to end."""

import signal
import sys

ENDING = [signal.SIGINT, signal.SIGTERM]
"""Ctrl-C, the request of a scheduler, and SIGHUP where there is one: the terminal is gone."""

if sys.platform != "win32":
    ENDING.append(signal.SIGHUP)
