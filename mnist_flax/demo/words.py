"""What the page and the API say, by what the networks know."""

from typing import NamedTuple

from mnist_flax.reading.reader import Reader


class Words(NamedTuple):
    """Texts of the page, each for its place there, and of the API."""

    title: str
    intro: str
    lead: str  # of the invitation, on the empty surface
    alternative: str  # likewise
    photograph: str  # of the camera's button
    summary: str  # of the API
    description: str


def choose(reader: Reader) -> Words:
    """Chooses the words for digits, for other characters, or for whole pictures."""
    recognizer = reader.recognizer
    names = recognizer.class_names
    height, width, _ = recognizer.networks.image_shape
    classes = f'The classes are: {", ".join(names)}.'
    if recognizer.framing != 'mnist':
        how = 'padded' if recognizer.framing == 'pad' else 'stretched'
        return Words(
            'Show a picture',
            f'A small neural network says which of {len(names)} classes a picture shows.',
            'Drop a picture here',
            'or draw one',
            'Take a photograph',
            'Says which class a picture shows.',
            f'The whole picture is taken, {how} and resized to {height}x{width} pixels. '
            f'{classes}',
        )
    if reader.single:
        return Words(
            'Draw a character',
            'While you draw, a small neural network guesses which character it is.',
            'Draw here',
            'or drop a picture of a character',
            'Photograph a character',
            'Recognizes the character in a picture.',
            'One character in each picture, on paper or a screen, in any colour and light. '
            f"It is first brought into MNIST's format. {classes}",
        )
    return Words(
        'Draw digits',
        'While you draw, small neural networks read them, one or several.',
        'Draw here',
        'or drop a picture of digits',
        'Photograph digits',
        'Reads the digits in a picture.',
        'One digit or several, in rows, on paper or a screen, in any colour and light. '
        "Each is first brought into MNIST's format.",
    )
