"""The order in which digits are read."""

from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.reading.boxes import Box
from mnist_flax.reading.rows import arrange


@given(st.data())
def test_digits_are_read_row_by_row_in_any_order_that_they_come(data):
    """Also where rows rise or fall, and digits are of different heights."""
    boxes, expected = [], []
    for row in range(data.draw(st.integers(1, 4))):
        slope = data.draw(st.floats(-0.1, 0.1))
        number = data.draw(st.integers(1, 6))
        for place in range(number):
            left = 60 * place + data.draw(st.integers(-8, 8))
            top = round(160 * row + slope * left) + data.draw(st.integers(-8, 8))
            height = data.draw(st.integers(40, 60))
            boxes.append(Box(left, top, left + 40, top + height))
            expected.append((row, place))
    order = data.draw(st.permutations(range(len(boxes))))
    rows = arrange([boxes[i] for i in order])
    found = [
        (row, place)
        for row, numbers in enumerate(rows)
        for place, number in enumerate(numbers)
        if expected[order[number]] == (row, place)
    ]
    assert sorted(found) == sorted(expected)


def test_a_digit_far_away_in_the_same_row_stands_by_itself():
    boxes = [Box(0, 0, 20, 40), Box(30, 0, 50, 40), Box(500, 0, 520, 40)]
    assert arrange(boxes) == [[0, 1], [2]]
