"""The demo's page in a real browser, drawn on with a mouse and with a finger."""

import base64
import contextlib
import pathlib
import re
import shutil

import pytest
from demo_process import serve
from handwriting_of_digits import write
from PIL import Image
from playwright import sync_api
from test_framing import draw

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason='found no Chromium; allowed: apt-get install chromium'
)

DESKTOP = {'viewport': {'width': 1200, 'height': 800}}
PHONE = {
    'viewport': {'width': 360, 'height': 640},
    'has_touch': True,
    'is_mobile': True,
    'device_scale_factor': 3,
}
DARK = {'color_scheme': 'dark'}

# Large in the middle, small at the top left, middling at the bottom right.
PLACES = [(0.08, 0.06, 0.88), (0.03, 0.02, 0.35), (0.4, 0.42, 0.55)]


@pytest.fixture(scope='module')
def server():
    with serve() as server:
        yield server


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM)


@pytest.fixture
def open_page(browser, server):
    """Opens the page; it must ask nobody else for anything, and report no mistake."""
    with contextlib.ExitStack() as stack:

        def open_(path='/', **options):
            context = stack.enter_context(browser.new_context(**options))
            page = context.new_page()
            mistakes = []

            def note_request(request):
                if not request.url.startswith((server.url, 'data:', 'blob:')):
                    mistakes.append(request.url)

            def note_message(message):
                # Chromium itself notes answers that are errors, and absent ones.
                if not message.text.startswith('Failed to load resource'):
                    mistakes.append(message.text)

            page.on('request', note_request)
            page.on('console', note_message)
            page.on('pageerror', lambda error: mistakes.append(error))
            stack.callback(lambda: pytest.fail(f'{mistakes}') if mistakes else None)
            page.goto(server.url + path)
            return page

        yield open_


def to_window(page, strokes):
    box = page.locator('canvas').bounding_box()
    return [
        [(box['x'] + x * box['width'], box['y'] + y * box['height']) for x, y in stroke]
        for stroke in strokes
    ]


def draw_by_mouse(page, strokes):
    for first, *others in to_window(page, strokes):
        page.mouse.move(*first)
        page.mouse.down()
        for point in others:
            page.mouse.move(*point)
        page.mouse.up()


def draw_by_finger(page, strokes):
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        touched = [{'x': x, 'y': y} for x, y in points]
        session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': touched})

    for first, *others in to_window(page, strokes):
        touch('touchStart', first)
        for point in others:
            touch('touchMove', point)
        touch('touchEnd')


def answer(page):
    """What the page says when it has been answered."""
    page.wait_for_selector('#answer[aria-busy=false]')
    return page.locator('#digit').inner_text()


def said(page):
    page.wait_for_selector('#answer[aria-busy=false]')
    return page.locator('#said').inner_text()


def recognise_all(page, draw_strokes, place, seed):
    """Draws each digit and returns what they were taken for."""
    seen = {}
    for digit in range(10):
        draw_strokes(page, write(digit, place, seed))
        seen[digit] = answer(page)
        page.keyboard.press('Escape')
    return seen


ALL = {digit: str(digit) for digit in range(10)}


def test_ten_of_ten_drawn_by_mouse(open_page):
    assert recognise_all(open_page(**DESKTOP), draw_by_mouse, PLACES[0], 0) == ALL


@pytest.mark.slow
@pytest.mark.parametrize('theme', [{}, DARK], ids=['light', 'dark'])
@pytest.mark.parametrize('place', PLACES, ids=['large', 'small', 'middling'])
@pytest.mark.parametrize(
    ('window', 'draw_strokes'),
    [(DESKTOP, draw_by_mouse), (PHONE, draw_by_finger)],
    ids=['mouse', 'finger'],
)
def test_ten_of_ten_at_any_size_and_place(open_page, window, draw_strokes, place, theme):
    page = open_page(**window, **theme)
    assert recognise_all(page, draw_strokes, place, 1) == ALL


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
def test_all_that_is_said_of_a_drawing_is_seen(open_page):
    page = open_page(**DESKTOP)
    assert page.get_by_text('Draw here').is_visible()
    draw_by_mouse(page, write(5, PLACES[0]))
    assert answer(page) == '5'
    assert not page.get_by_text('Draw here').is_visible()
    # In full, since the digit itself is not read out to who cannot see.
    assert re.fullmatch(r'5: [\d.]+% sure; else \d \([\d.]+%\)', said(page))
    rows = page.locator('#bars li').all_inner_texts()
    numbers = [float(row.split()[1].rstrip('%')) for row in rows]
    assert [row.split()[0] for row in rows] == [str(digit) for digit in range(10)]
    assert sum(numbers) == pytest.approx(100, abs=0.5)
    assert max(numbers) == numbers[5]
    image = page.locator('#image')
    assert image.is_visible()
    assert image.evaluate('image => [image.naturalWidth, image.naturalHeight]') == [28, 28]


def test_it_says_what_it_sees_before_the_pen_is_lifted(open_page):
    page = open_page(**DESKTOP)
    ((first, *others),) = to_window(page, write(0, PLACES[0]))
    page.mouse.move(*first)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point)
    assert answer(page) == '0'
    page.mouse.up()
    assert answer(page) == '0'


@pytest.mark.slow
def test_no_question_is_asked_of_a_stroke_that_has_only_begun(open_page):
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
    page.mouse.up()
    assert answer(page) == '0'
    assert {*statuses} == {200}


@pytest.mark.slow
def test_the_bars_are_seen_in_forced_colours(open_page):
    page = open_page(**DESKTOP, forced_colors='active')
    draw_by_mouse(page, write(5, PLACES[0]))
    assert answer(page) == '5'
    colours = page.evaluate("""() => {
      const bar = document.querySelector('#bars .best i');
      return [null, '::before'].map((part) => getComputedStyle(bar, part).backgroundColor);
    }""")
    assert len({*colours}) == 2


@pytest.mark.slow
def test_large_text_leaves_all_in_reach(open_page):
    page = open_page(**PHONE)
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    lefts = 'nodes => nodes.map(node => node.getBoundingClientRect().left)'
    assert min(page.locator('body *').evaluate_all(lefts)) >= 0
    assert page.evaluate('document.documentElement.scrollWidth') == 360


def test_undo_and_clear_by_button_and_key(open_page):
    page = open_page(**DESKTOP)
    undo = page.get_by_role('button', name='Undo')
    clear = page.get_by_role('button', name='Clear')
    assert undo.is_disabled()
    assert clear.is_disabled()
    draw_by_mouse(page, write(1, PLACES[0]))
    before = answer(page), page.locator('#image').get_attribute('src')
    draw_by_mouse(page, [[(0.05, 0.5), (0.4, 0.5), (0.95, 0.5)]])
    assert (answer(page), page.locator('#image').get_attribute('src')) != before
    undo.click()
    assert (answer(page), page.locator('#image').get_attribute('src')) == before
    clear.click()
    assert answer(page) == '?'
    assert said(page) == ''
    assert page.get_by_text('Draw here').is_visible()
    page.keyboard.press('Control+z')
    assert (answer(page), page.locator('#image').get_attribute('src')) == before
    page.keyboard.press('Escape')
    assert answer(page) == '?'


NOTE_WHAT_IS_SHOWN = """() => {
  window.shown = [];
  const digit = document.querySelector('#digit');
  const note = () => window.shown.push(digit.textContent);
  new MutationObserver(note).observe(digit, {childList: true});
}"""


@pytest.mark.slow
def test_an_answer_that_comes_after_clear_is_not_shown(open_page):
    page = open_page(**DESKTOP)
    draw_by_mouse(page, write(1, PLACES[0]))
    assert answer(page) == '1'
    waiting = []
    page.route('**/predict', lambda route: waiting.append(route))
    draw_by_mouse(page, write(1, PLACES[0], seed=1))  # once more on the same line
    page.evaluate(NOTE_WHAT_IS_SHOWN)
    page.keyboard.press('Escape')
    draw_by_mouse(page, write(0, PLACES[0]))
    while page.locator('#answer').get_attribute('aria-busy') == 'true':
        if waiting:
            waiting.pop(0).continue_()
        page.wait_for_timeout(50)
    assert {*page.evaluate('window.shown')} == {'?', '0'}


def test_several_digits_are_said_in_words(open_page):
    page = open_page(**DESKTOP)
    draw_by_mouse(page, write(2, (0.02, 0.2, 0.4)) + write(7, (0.55, 0.2, 0.4)))
    text = 'Found 2 things drawn apart from each other. Allowed: one digit.'
    assert said(page) == text
    assert answer(page) == '?'


@pytest.mark.slow
def test_a_server_that_is_gone_is_said_and_the_next_stroke_tries_again(open_page):
    page = open_page(**DESKTOP)
    page.route('**/predict', lambda route: route.abort())
    first, *others = write(4, PLACES[0])
    draw_by_mouse(page, [first])
    assert 'The server does not answer' in said(page)
    page.unroute('**/predict')
    draw_by_mouse(page, others)
    assert answer(page) == '4'


@pytest.mark.slow
def test_a_server_that_is_busy_is_asked_again(open_page):
    page = open_page(**DESKTOP)
    answers = []

    def refuse_once(route):
        answers.append(route)
        busy = {'status': 503, 'json': {'error': 'server: busy; allowed: another try'}}
        route.continue_() if len(answers) > 3 else route.fulfill(**busy)

    page.route('**/predict', refuse_once)
    draw_by_mouse(page, [write(1, PLACES[0])[0]])
    assert answer(page) == '1'


@pytest.mark.slow
def test_other_classes_are_shown_by_their_names(open_page):
    page = open_page(**PHONE)
    said_of_it = {
        'prediction': 'Ankle boot',
        'confidence': 0.75,
        'runner_up': 'Bag',
        'probabilities': {'Bag': 0.25, 'Ankle boot': 0.75},
        'image': 'data:image/png;base64,',
    }
    page.route('**/predict', lambda route: route.fulfill(json=said_of_it))
    draw_by_finger(page, write(1))
    assert answer(page) == 'Ankle boot'
    assert said(page) == 'Ankle boot: 75.0% sure; else Bag (25.0%)'
    rows = [row.split('\n') for row in page.locator('#bars li').all_inner_texts()]
    assert rows == [['Bag', '25.0%'], ['Ankle boot', '75.0%']]
    assert page.evaluate('document.documentElement.scrollWidth') == 360


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / 'photo.jpg'
    Image.fromarray(draw(6, size=700)).save(path)
    return path


@pytest.mark.slow
def test_a_picture_is_chosen_or_photographed(open_page, photograph):
    page = open_page(**PHONE)
    for label in ('Choose a picture', 'Photograph'):
        page.get_by_label(label).set_input_files(photograph)
        sync_api.expect(page.locator('#digit')).to_have_text('6')
        page.get_by_role('button', name='Clear').click()
    # Over a picture a new drawing begins; undo brings it back.
    page.get_by_label('Choose a picture').set_input_files(photograph)
    sync_api.expect(page.locator('#digit')).to_have_text('6')
    draw_by_finger(page, write(1, PLACES[0]))
    assert answer(page) == '1'
    page.get_by_role('button', name='Undo').click()
    assert answer(page) == '6'


GIVE = """([content, kind]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], 'photo.jpg', {type: 'image/jpeg'}));
  const event = kind === 'drop'
    ? new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
    : new ClipboardEvent('paste', {clipboardData: data, bubbles: true});
  document.querySelector('canvas').dispatchEvent(event);
}"""


@pytest.mark.parametrize('kind', ['drop', 'paste'])
def test_a_picture_is_dropped_or_pasted(open_page, photograph, kind):
    page = open_page(**DESKTOP)
    content = base64.b64encode(photograph.read_bytes()).decode()
    page.evaluate(GIVE, [content, kind])
    sync_api.expect(page.locator('#digit')).to_have_text('6')
    assert not page.get_by_text('Draw here').is_visible()


GIVE_MEANWHILE = """async (meanwhile) => {
  const decode = window.createImageBitmap;
  const decoded = new Promise((resolve) => { window.finish = resolve; });
  window.createImageBitmap = async (file) => {
    if (file.size) await decoded;
    return decode(file);
  };
  const paper = document.createElement('canvas');
  const slow = take(await new Promise((resolve) => paper.toBlob(resolve)));
  await new Promise((resolve) => setTimeout(resolve, 100));
  if (meanwhile === 'clear') clear();
  if (meanwhile === 'picture') await take(new File([], 'another'));
  const before = drawing;
  window.finish();
  await slow;
  return drawing === before;
}"""


@pytest.mark.slow
@pytest.mark.parametrize('meanwhile', ['clear', 'picture'])
def test_a_picture_that_is_slow_to_decode_does_not_come_back(open_page, meanwhile):
    assert open_page(**DESKTOP).evaluate(GIVE_MEANWHILE, meanwhile)


@pytest.mark.slow
def test_strokes_begun_while_a_picture_is_decoded_stay(open_page):
    page = open_page(**DESKTOP)
    page.evaluate("""() => new Promise((begun) => {
      window.createImageBitmap = () => new Promise((finish) => {
        window.finish = finish;
        begun();
      });
      window.slow = take(new File(['slow'], 'slow'));
    })""")
    draw_by_mouse(page, write(2, PLACES[0]))
    page.evaluate('() => { window.finish(null); return window.slow; }')
    assert answer(page) == '2'


@pytest.mark.slow
def test_a_file_that_is_gone_before_it_is_read_is_said(open_page, photograph):
    page = open_page(**DESKTOP)
    page.evaluate("""() => addEventListener('change', (event) => {
      window.chosen = event.target.files[0];
      event.stopImmediatePropagation();
    }, true)""")
    page.get_by_label('Choose a picture').set_input_files(photograph)
    photograph.unlink()
    page.evaluate('take(window.chosen)')
    text = 'Found a folder, or a file that cannot be read. Allowed: a picture.'
    assert page.locator('#said').inner_text() == text


@pytest.mark.slow
def test_a_picture_that_the_browser_cannot_show_is_recognised(open_page, tmp_path):
    page = open_page(**DESKTOP)
    path = tmp_path / 'digit.tiff'
    Image.fromarray(draw(6, size=200)).save(path)
    page.get_by_label('Choose a picture').set_input_files(path)
    sync_api.expect(page.locator('#digit')).to_have_text('6')
    notice = page.get_by_text('This browser cannot show this picture')
    assert notice.is_visible()
    page.keyboard.press('Escape')
    assert not notice.is_visible()


@pytest.mark.slow
def test_a_picture_that_is_too_large_is_made_smaller(open_page, tmp_path):
    page = open_page(**DESKTOP)
    path = tmp_path / 'large.bmp'
    Image.fromarray(draw(8, size=2500)).convert('RGB').save(path)
    assert path.stat().st_size > 16 * 2**20
    page.get_by_label('Choose a picture').set_input_files(path)
    sync_api.expect(page.locator('#digit')).to_have_text('8')


@pytest.mark.slow
def test_a_file_that_is_no_picture_is_said_in_words(open_page):
    page = open_page(**DESKTOP)
    page.get_by_label('Choose a picture').set_input_files(pathlib.Path(__file__))
    sync_api.expect(page.locator('#said')).not_to_be_empty()
    assert said(page).startswith('Found another kind of file. Allowed: PNG, JPEG')


@pytest.mark.slow
def test_the_page_for_programs_describes_and_tries(open_page, photograph):
    page = open_page('/docs', **PHONE)
    page.get_by_text('POST /predict').wait_for()
    for word in ('runner_up', '413', '503', 'curl -F'):
        assert word in page.locator('#operations').inner_text()
    page.get_by_label('A picture').set_input_files(photograph)
    page.get_by_role('button', name='Send').click()
    sync_api.expect(page.locator('#answer')).to_contain_text('"prediction": "6"')
    assert page.evaluate('document.documentElement.scrollWidth') == 360
