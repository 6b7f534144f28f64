"""What a user can get wrong, said in one line."""


class UserError(Exception):
    """A mistake that the user can correct; the message is one line."""

    def __init__(self, message: str):
        super().__init__(to_line(' '.join(message.split())))


def to_line(text: str) -> str:
    """Writes out what a terminal would not print, such as line ends in a file's name."""
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def require(condition: bool, message: str) -> None:
    """Raises `UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)
