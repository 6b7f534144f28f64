"""Reads pictures: one digit, or all digits in them, row by row."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from PIL import Image

from mnist_flax.common.errors import UserError, require
from mnist_flax.common.framings import Framing
from mnist_flax.reading import marks, page, parts, sheets
from mnist_flax.reading.boxes import Box
from mnist_flax.reading.page import Page
from mnist_flax.recognition import ink, inputs, pictures
from mnist_flax.recognition.framing import frame
from mnist_flax.recognition.networks import Networks, load_networks
from mnist_flax.recognition.pictures import Colours
from mnist_flax.recognition.recognizer import Prediction, Recognizer, to_prediction

# The networks of the package that tell digits from other things.
_DETECTOR = pathlib.Path(__file__).parent / 'pretrained' / 'digit_or_not'

_DIGITS = tuple('0123456789')

# Pictures of fewer pixels, in their shorter side, are taken for one digit first: their
# strokes are as wide as what light does.
_SMALL = 48

# To be read by itself, a digit must take this part of one of the picture's sides.
_FILLED = 0.3

# If half the width of its strokes, in pixels of the networks' input, is this, it needs to
# be a digit with this probability only.
_THICK, _LEAST_SURE = 2.7, 0.1

# A digit that takes this part of one of the sides is also read by itself.
_FULL = 0.7

# So sure, no other way to read a picture is tried; and the less likely way must be so sure.
_SURE = 0.9

# Pixels of the longer side of the picture in a reading.
_SHOWN_SIDE = 400

# Numbers of images: others are padded to the next one.
_COMPILED = (1, 2, 4, 8, 16, 32)

_ALL = (0.0, 0.0, 1.0, 1.0)


class _SeveralError(UserError):
    """A picture shows digits and something else."""


class Digit(NamedTuple):
    """A digit in a picture."""

    prediction: Prediction  # its confidence counts that it is a digit at all
    box: tuple[
        float, float, float, float
    ]  # left, top, right, bottom, in parts of the sides; all of them if it is not known
    row: int  # from the top, from 0 on


class Reading(NamedTuple):
    """What is written in a picture."""

    text: str  # such as '176/289': the rows, from top to bottom
    digits: tuple[Digit, ...]
    picture: UInt8[np.ndarray, '_ _ _']  # made small; of one digit, the networks' input
    doubt: str  # why it may be wrong; '' if nothing is known

    @property
    def least_sure(self) -> Digit:
        """The digit that is the least sure."""
        return min(self.digits, key=lambda digit: digit.prediction.confidence)

    @property
    def fills_picture(self) -> bool:
        """Whether there is one digit, as high or wide as most of the picture."""
        left, top, right, bottom = self.digits[0].box
        return len(self.digits) == 1 and max(right - left, bottom - top) >= _FULL

    @property
    def confidence(self) -> float:
        """How sure that digit is."""
        return self.least_sure.prediction.confidence


class Reader:
    """Reads digits in pictures.

    Attributes:
      recognizer: Its networks say which digits they are.
      single: Whether each picture is taken for one thing.
    """

    def __init__(self, recognizer: Recognizer, single: bool = False):
        """Makes a reader.

        Args:
          recognizer: Recognizes single digits. Of networks that know other things, or take
            whole pictures, a reading is always of one thing.
          single: Whether to take each picture for one digit.
        """
        self.recognizer = recognizer
        knows_digits = recognizer.class_names == _DIGITS and recognizer.framing == 'mnist'
        self.single = single or not knows_digits
        self._detector: Networks | None = None

    def read(self, sources: Any) -> list[Reading]:
        """Reads pictures.

        Args:
          sources: One picture or several, as in `Recognizer.predict`.

        Raises:
          UserError: One cannot be read: it is no picture, shows no digit, or something else
            among digits.
        """
        return [self.read_one(*each) for each in pictures.name_sources(sources)]

    def read_one(self, source: pictures.Source, name: str) -> Reading:
        """Reads a picture, as `read`.

        Args:
          source: As in `pictures.read`.
          name: What to call it in messages.
        """
        if self.single:
            return self._read_whole(self.recognizer.to_input(source, name))
        colours = pictures.read(source, name)
        framed = inputs.find_framed(colours)
        if framed is not None:
            return self._read_whole(self.recognizer.from_mnist_format(framed))
        return self._read_digits(colours, name)

    def compile(self) -> None:
        """Compiles what reads a few digits, so that the first picture does not wait."""
        shape = self.recognizer.networks.image_shape
        self.recognizer.predict_inputs([np.zeros(shape, np.uint8)])
        for number in () if self.single else _COMPILED:
            self.judge(number * [np.zeros((28, 28, 1), np.uint8)])

    def judge(
        self, images: Sequence[UInt8[np.ndarray, '28 28 1']]
    ) -> tuple[Float[np.ndarray, 'images'], Float[np.ndarray, 'images classes']]:
        """Says of images in MNIST's format how probably each is a digit, and which."""
        if self._detector is None:
            self._detector = load_networks(_DETECTOR)
        is_digit = self._detector.probabilities(np.stack(images))[:, 1]
        own = [self.recognizer.from_mnist_format(image) for image in images]
        return is_digit, self.recognizer.networks.probabilities(np.stack(own))

    def _read_digits(self, colours: Colours, name: str) -> Reading:
        """Reads a picture as a page, or as one digit, or as both."""
        errors: list[UserError] = []

        def attempt(way: Callable[[Colours, str], Reading]) -> Reading | None:
            try:
                return way(colours, name)
            except _SeveralError:
                raise
            except UserError as error:
                errors.append(error)
                return None

        is_small = min(colours.shape[:2]) < _SMALL
        alone = attempt(self._read_alone) if is_small else None
        if alone and alone.confidence >= _SURE:
            return alone
        on_page = attempt(self._read_page)
        if on_page and len(on_page.digits) > 1:
            return max((on_page, alone or on_page), key=lambda of: of.confidence)
        if on_page and on_page.confidence >= _SURE and not on_page.fills_picture:
            return on_page
        if not is_small:
            alone = attempt(self._read_alone)
        if alone and on_page:
            # Strokes of a digit that fills its picture may be too wide for a page's.
            (digit,) = alone.digits
            digit = digit._replace(box=on_page.digits[0].box)
            return alone._replace(digits=(digit,), doubt=on_page.doubt)
        best = alone or on_page
        if not best:
            raise errors[-1] if is_small else errors[0]
        return best

    def _read_whole(self, image: UInt8[np.ndarray, '_ _ _']) -> Reading:
        """Reads a picture of one thing, which it is said to be."""
        (prediction,) = self.recognizer.predict_inputs([image])
        name = self.recognizer.class_names[prediction.label]
        doubt = self.recognizer.explain_doubt(image)
        digits = (Digit(prediction, _ALL, 0),)
        return Reading(name, digits, image, doubt)

    def _read_alone(self, colours: Colours, name: str) -> Reading:
        """Reads a picture of one digit, which may fill it."""
        drawn = ink.find_ink(colours, name)
        boxes = parts.find_boxes(drawn > 0.5)
        fills = parts.fills(boxes, drawn.shape, _FILLED)
        require(
            (fills or min(drawn.shape) < _SMALL) and not parts.are_apart(boxes),
            f'{name}: what is drawn in it does not look like digits',
        )
        image = frame(drawn, name)
        (is_digit,), (probabilities,) = self.judge([image])
        # The networks have seen few digits whose strokes are as wide as their gaps.
        inside = scipy.ndimage.distance_transform_edt(np.pad(image[..., 0] > 100, 1))
        is_thick = inside.max() >= _THICK
        require(
            bool(is_digit >= (_LEAST_SURE if is_thick else page.LEAST_SURE)),
            f'{name}: what is drawn in it does not look like a digit',
        )
        box = _ALL
        if boxes and drawn.shape == colours.shape[:2]:  # not of a sheet that was cut out
            box = _to_box(functools.reduce(Box.join, boxes), None, colours)
        digit = Digit(to_prediction(image, probabilities, float(is_digit)), box, 0)
        return Reading(_DIGITS[digit.prediction.label], (digit,), image, '')

    def _read_page(self, colours: Colours, name: str) -> Reading:
        """Reads a picture of any number of digits."""
        sheet = sheets.find(colours)
        sides = sheet.colours if sheet else colours
        found = self._read_in_ways(sides, name)
        number = sum(map(len, found.rows))
        others = found.num_others
        require(number > 0, f'{name}: what is drawn in it does not look like digits')
        if others:
            # Of two, one may be a piece of a digit that fills the picture.
            is_several = number + others > 2 or found.is_sign
            kind = _SeveralError if is_several else UserError
            raise kind(
                f'{name}: of {number + others} things in it {others} do not look like '
                'digits; cut the digits out, or photograph them larger'
            )
        digits = tuple(
            Digit(
                to_prediction(of.image, of.probabilities, of.is_digit),
                _to_box(of.box, sheet, colours),
                row,
            )
            for row, of_row in enumerate(found.rows)
            for of in of_row
        )
        text = '/'.join(''.join(_DIGITS[of.digit] for of in row) for row in found.rows)
        picture = digits[0].prediction.image if number == 1 else _shrink(colours)
        return Reading(text, digits, picture, found.doubt)

    def _read_in_ways(self, colours: Colours, name: str) -> Page:
        """Reads dark digits on bright paper, or bright ones on dark, as it fits."""
        found: list[Page | UserError] = []
        for are_dark in marks.find_ways(colours):
            try:
                of_way = page.read(colours, are_dark, name, self.judge)
            except UserError as error:
                found.append(error)
            else:
                least = _SURE if found else 0.0
                if of_way.confidence > least:
                    return of_way
                found.append(of_way)
        if isinstance(found[0], UserError):
            raise found[0]
        return found[0]


def _to_box(
    box: Box, sheet: sheets.Sheet | None, colours: Colours
) -> tuple[float, float, float, float]:
    """Converts a box on a page to parts of the picture's sides."""
    left, top, right, bottom = box
    corners = np.array([[x, y] for x in (left, right) for y in (top, bottom)], float)
    if sheet:
        corners = sheets.project(sheet.to_picture, corners)
    places = np.clip(corners / colours.shape[1::-1], 0, 1)
    return (*places.min(axis=0).tolist(), *places.max(axis=0).tolist())


def _shrink(colours: Colours) -> UInt8[np.ndarray, '_ _ 3']:
    image = Image.fromarray(np.round(255 * colours).astype(np.uint8))
    image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    return np.asarray(image)


def load(
    workdir: str | pathlib.Path = '',
    constructor: str = '',
    framing: Framing | None = None,
    single: bool = False,
) -> Reader:
    """Loads the networks of a finished run, as `load_networks`, to read with."""
    return Reader(Recognizer(load_networks(workdir, constructor), framing), single)
