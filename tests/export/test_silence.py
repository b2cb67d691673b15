"""Libraries that write to the terminal."""

import logging
import sys

from proxyless.export.silence import silence


def test_nothing_is_printed_and_printing_works_again_afterwards(capfd):
    with silence():
        print("out")
        print("error", file=sys.stderr)
        logging.getLogger("loud").warning("logged")
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_a_handler_that_a_library_adds_meanwhile_is_gone_afterwards():
    """It writes to a stream that nobody reads, and would swallow what is logged later."""
    before = list(logging.root.handlers)
    with silence():
        logging.root.addHandler(logging.StreamHandler())
    assert logging.root.handlers == before
