import logging
import os
import sys
from io import TextIOWrapper

from lit_vision.utils.readers import outliving_readers


def test_what_nobody_reads_is_lost_and_the_work_goes_on(monkeypatch):
    reading, writing = os.pipe()
    stream = TextIOWrapper(os.fdopen(writing, "wb"), write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    logger = logging.getLogger("lit_vision")
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(logger, "handlers", [handler])
    with outliving_readers():
        print("read", flush=True)
        assert os.read(reading, 100) == b"read\n"
        os.close(reading)
        for _ in range(3):
            print("lost", flush=True)
            logger.warning("lost")
    assert sys.stdout is stream
    assert handler.stream is stream
    stream.close()
