"""The demo's page in a real browser, drawn on with a mouse and with a finger."""

import html
import io
import json
import re

import numpy as np
import pytest
from demo_page import (
    DARK,
    DESKTOP,
    PHONE,
    PLACES,
    answer,
    draw_by_finger,
    draw_by_mouse,
    message,
    to_window,
)
from handwriting_of_digits import write
from PIL import Image

BY_MOUSE = (DESKTOP, draw_by_mouse)
BY_FINGER = ({**PHONE, **DARK}, draw_by_finger)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('window', 'draw_strokes', 'place'),
    [(*way, place) for way in (BY_MOUSE, BY_FINGER) for place in PLACES],
)
def test_ten_of_ten_are_recognized(open_page, window, draw_strokes, place):
    page = open_page(**window)
    for digit in range(10):
        draw_strokes(page, write(digit, place))
        assert answer(page) == str(digit)
        page.keyboard.press('Escape')


def test_a_finger_draws_on_a_phone_and_does_not_scroll(open_page):
    page = open_page(**{**PHONE, **DARK, 'viewport': {'width': 360, 'height': 400}})
    assert page.evaluate('document.documentElement.scrollHeight') > 400
    draw_by_finger(page, write(3, PLACES[0]))
    assert answer(page) == '3'
    assert page.evaluate('[scrollX, scrollY]') == [0, 0]
    page.set_viewport_size(PHONE['viewport'])
    assert page.evaluate('document.documentElement.scrollHeight') == 640
    assert page.evaluate('document.documentElement.scrollWidth') == 360
    for name in ('Undo', 'Clear'):
        assert page.get_by_role('button', name=name).is_visible()
    assert page.get_by_label('Photograph').get_attribute('capture') == 'environment'


@pytest.mark.slow
@pytest.mark.parametrize('size', [(915, 412), (740, 360), (320, 568)])
def test_all_is_in_a_small_window_without_scrolling(open_page, size):
    width, height = size
    page = open_page(**{**PHONE, 'viewport': {'width': width, 'height': height}})
    draw_by_finger(page, write(3, PLACES[0]))
    assert answer(page) == '3'
    scrolled = 'document.documentElement.scrollWidth, document.documentElement.scrollHeight'
    assert page.evaluate(f'[{scrolled}]') == [width, height]
    for name in ('#bars', '#undo', '#clear', '#camera', '#file'):
        box = page.locator(name).bounding_box()
        assert box['y'] + box['height'] <= height
        assert box['x'] + box['width'] <= width


@pytest.mark.slow
def test_the_whole_prediction_is_shown(open_page):
    page = open_page(**DESKTOP)
    assert page.get_by_text('Draw here').is_visible()
    draw_by_mouse(page, write(5, PLACES[0]))
    assert answer(page) == '5'
    assert not page.get_by_text('Draw here').is_visible()
    # In full, since the digit itself is not read out to who cannot see.
    pattern = r'5: [\d.]+% sure; next: \d \([\d.]+%\)'
    assert re.fullmatch(pattern, message(page))
    rows = page.locator('#bars li').all_inner_texts()
    numbers = [float(row.split()[1].rstrip('%')) for row in rows]
    assert [row.split()[0] for row in rows] == [str(digit) for digit in range(10)]
    assert sum(numbers) == pytest.approx(100, abs=0.5)
    assert max(numbers) == numbers[5]
    image = page.locator('#image')
    assert image.is_visible()
    assert image.evaluate('image => [image.naturalWidth, image.naturalHeight]') == [28, 28]


def test_a_stroke_is_recognized_before_its_end_but_a_dot_is_not_sent(open_page):
    page = open_page(**DESKTOP)
    statuses = []
    page.on('response', lambda response: statuses.append(response.status))
    ((first, *others),) = to_window(page, write(0, PLACES[0]))
    page.mouse.move(*first)
    page.mouse.down()
    page.wait_for_timeout(200)
    assert statuses == []
    for point in others:
        page.mouse.move(*point)
    assert answer(page) == '0'
    page.mouse.up()
    assert answer(page) == '0'
    assert statuses[-1] == 200
    assert {*statuses} <= {200, 422}  # a part of a digit may be none


@pytest.mark.slow
def test_forced_colours_and_large_text_leave_all_in_sight(open_page):
    page = open_page(**PHONE, forced_colors='active')
    draw_by_finger(page, write(5, PLACES[0]))
    assert answer(page) == '5'
    colours = page.evaluate("""() => {
      const bar = document.querySelector('#bars .best i');
      return [null, '::before'].map((part) => getComputedStyle(bar, part).backgroundColor);
    }""")
    assert len({*colours}) == 2
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    lefts = 'nodes => nodes.map(node => node.getBoundingClientRect().left)'
    assert min(page.locator('body *').evaluate_all(lefts)) >= 0
    assert page.evaluate('document.documentElement.scrollWidth') == 360


@pytest.mark.slow
def test_undo_and_clear_by_button_and_key(open_page):
    page = open_page(**DESKTOP)
    undo = page.get_by_role('button', name='Undo')
    clear = page.get_by_role('button', name='Clear')

    def shown():
        return answer(page), page.locator('#image').get_attribute('src')

    assert undo.is_disabled()
    assert clear.is_disabled()
    draw_by_mouse(page, write(1, PLACES[0]))
    before = shown()
    draw_by_mouse(page, [[(0.05, 0.5), (0.4, 0.5), (0.95, 0.5)]])
    assert shown() != before
    undo.click()
    assert shown() == before
    clear.click()
    assert (answer(page), message(page)) == ('?', '')
    assert page.get_by_text('Draw here').is_visible()
    page.keyboard.press('Control+z')
    assert shown() == before
    page.keyboard.press('Escape')
    assert answer(page) == '?'


@pytest.mark.slow
def test_an_answer_that_comes_after_clear_is_not_shown(open_page):
    page = open_page(**DESKTOP)
    draw_by_mouse(page, write(1, PLACES[0]))
    assert answer(page) == '1'
    waiting = []
    page.route('**/predict', lambda route: waiting.append(route))
    draw_by_mouse(page, write(1, PLACES[0], seed=1))  # once more on the same line
    page.evaluate("""() => {
      window.shown = new Set();
      const digit = document.querySelector('#digit');
      const note = () => window.shown.add(digit.textContent);
      new MutationObserver(note).observe(digit, {childList: true});
    }""")
    page.keyboard.press('Escape')
    draw_by_mouse(page, write(0, PLACES[0]))
    while page.locator('#answer').get_attribute('aria-busy') == 'true':
        if waiting:
            waiting.pop(0).continue_()
        page.wait_for_timeout(50)
    assert page.evaluate('[...window.shown].sort()') == ['0', '?']


@pytest.mark.slow
def test_several_digits_are_shown_with_a_box_around_each(open_page):
    page = open_page(**DESKTOP)
    draw_by_mouse(page, write(2, (0.05, 0.02, 0.4)) + write(7, (0.5, 0.02, 0.4)))
    assert answer(page) == '27'
    assert re.fullmatch(
        r'2 digits\. Least sure: [27] in place [12], [\d.]+%; next: \d', message(page)
    )

    def count_blue():
        """Pixels of the boxes, which have another colour than the strokes."""
        image = Image.open(io.BytesIO(page.locator('canvas').screenshot())).convert('RGB')
        red, _, blue = np.asarray(image, int).transpose(2, 0, 1)
        return (blue > red + 60).sum()

    number = count_blue()
    assert number > 1000
    draw_by_mouse(page, write(5, (0.1, 0.5, 0.45)))
    assert answer(page) == '27 5'
    assert count_blue() > number
    page.keyboard.press('Control+z')
    page.keyboard.press('Control+z')  # both strokes of the five
    assert answer(page) == '27'
    page.keyboard.press('Escape')
    assert answer(page) == '?'
    assert count_blue() == 0


@pytest.mark.slow
def test_an_error_is_shown_as_a_sentence(open_page):
    page = open_page(**DESKTOP)
    responses = []
    page.on('response', lambda response: responses.append(response))
    hatching = [[(0.2, y), (0.8, y - 0.1)] for y in (0.25, 0.4, 0.55, 0.7, 0.85)]
    draw_by_mouse(page, [*hatching, [(0.25, 0.1), (0.25, 0.9)], [(0.7, 0.1), (0.7, 0.9)]])
    assert answer(page) == '?'
    error = responses[-1].json()['error'].removeprefix('picture: ')
    assert message(page) == f'{error[0].upper()}{error[1:]}.'


@pytest.mark.slow
def test_a_server_that_is_gone_or_busy_is_asked_again(open_page):
    page = open_page(**DESKTOP)
    page.route('**/predict', lambda route: route.abort())
    first, *others = write(4, PLACES[0])
    draw_by_mouse(page, [first])
    assert 'The server does not answer' in message(page)
    page.unroute('**/predict')
    draw_by_mouse(page, others)
    assert answer(page) == '4'
    page.keyboard.press('Escape')
    busy = {'status': 503, 'json': {'error': 'server: busy; try again'}}
    page.route('**/predict', lambda route: route.fulfill(**busy), times=3)
    draw_by_mouse(page, write(1, PLACES[0]))
    assert answer(page) == '1'


def answer_with(page, probabilities, is_digit=1.0):
    """Has the server know other classes, and answer always the same."""

    def change(route):
        classes = html.escape(json.dumps([*probabilities]))
        response = route.fetch()
        text = re.sub('data-classes=".*?"', f'data-classes="{classes}"', response.text())
        route.fulfill(response=response, body=text)

    page.route(lambda url: url.endswith('/'), change)
    page.reload()
    best, other = sorted(probabilities, key=probabilities.get, reverse=True)[:2]
    prediction = {
        'prediction': best,
        'confidence': is_digit * probabilities[best],
        'runner_up': other,
        'probabilities': probabilities,
        'image': 'data:image/png;base64,',
    }
    page.route('**/predict', lambda route: route.fulfill(json=prediction))


def test_other_classes_are_shown_by_their_names(open_page):
    page = open_page(**PHONE)
    answer_with(page, {'Bag': 0.25, 'Ankle boot': 0.75})
    draw_by_finger(page, write(1))
    assert answer(page) == 'Ankle boot'
    assert message(page) == 'Ankle boot: 75.0% sure; next: Bag (25.0%)'
    rows = [row.split('\n') for row in page.locator('#bars li').all_inner_texts()]
    assert rows == [['Bag', '25.0%'], ['Ankle boot', '75.0%']]
    page.get_by_role('button', name='Clear').click()
    assert page.locator('#bars li').all_inner_texts() == ['Bag', 'Ankle boot']
    assert page.evaluate('document.documentElement.scrollWidth') == 360


def test_the_next_is_on_the_scale_of_the_first(open_page):
    page = open_page(**DESKTOP)
    answer_with(page, {'3': 0.75, '8': 0.25}, is_digit=0.8)
    draw_by_mouse(page, write(1))
    assert message(page) == '3: 60.0% sure; next: 8 (20.0%)'


@pytest.mark.slow
def test_of_many_classes_the_most_probable_are_shown(open_page):
    page = open_page(**DESKTOP)
    names = [f'class {i}' for i in range(40)]
    answer_with(page, {name: i / 780 for i, name in enumerate(names)})
    assert page.locator('#bars li').all_inner_texts() == names[:10]
    draw_by_mouse(page, write(1))
    assert answer(page) == 'class 39'
    rows = [row.split('\n')[0] for row in page.locator('#bars li').all_inner_texts()]
    assert rows == names[:-11:-1]
    # Whatever their names, the bars begin below one another.
    starts = {page.locator(f'#bars i >> nth={i}').bounding_box()['x'] for i in range(10)}
    assert len(starts) == 1
