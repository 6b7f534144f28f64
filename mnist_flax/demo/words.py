"""What the page and the API say, by what the networks know."""

from typing import NamedTuple

from mnist_flax.recognition.recognizer import Recognizer

_DIGITS = tuple('0123456789')


class Words(NamedTuple):
    """Texts of the page, each for its place there, and of the API."""

    title: str
    intro: str
    lead: str  # of the invitation, on the empty surface
    alternative: str  # likewise
    photograph: str  # of the camera's button
    summary: str  # of the API
    description: str


def choose(recognizer: Recognizer) -> Words:
    """Chooses the words for digits, for other characters, or for whole pictures."""
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
    thing = 'digit' if names == _DIGITS else 'character'
    return Words(
        f'Draw a {thing}',
        f'While you draw, a small neural network guesses which {thing} it is.',
        'Draw here',
        f'or drop a picture of a {thing}',
        f'Photograph a {thing}',
        f'Recognizes the {thing} in a picture.',
        f'One {thing} in each picture, on paper or a screen, in any colour and light. It '
        f"is first brought into MNIST's format. {classes}",
    )
