"""Pictures that are chosen, photographed, dropped or pasted into the demo's pages."""

import base64
import pathlib

import pytest
from demo_page import DESKTOP, PHONE, PLACES, answer, draw_by_finger, draw_by_mouse, said
from handwriting_of_digits import write
from PIL import Image
from playwright import sync_api
from test_framing import draw


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
