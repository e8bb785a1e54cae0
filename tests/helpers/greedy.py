"""Children for tests of watched processes; imports nothing, so that they start at once."""


def answers(pipe, value):
    """Answer."""
    pipe.send(value)


def takes(pipe, size):
    """Take memory and more memory, until somebody ends it."""
    held = []
    while True:
        held.append(bytearray(b"x" * size))


def fails(pipe):
    """End without an answer."""
    raise SystemExit(1)
