"""Pictures that are chosen, photographed, dropped or pasted into the demo's pages."""

import base64

import pytest
from demo_page import DESKTOP, PHONE, PLACES, answer, draw_by_finger
from handwriting_of_digits import draw, write
from PIL import Image
from playwright import sync_api


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
    # A stroke on it starts a new drawing; undo brings it back.
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


@pytest.mark.slow
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
  if (meanwhile === 'stroke') change({picture: null, strokes: [[[0.5, 0.1], [0.5, 0.9]]]});
  const before = drawing;
  window.finish();
  await slow;
  return drawing === before;
}"""


@pytest.mark.slow
@pytest.mark.parametrize('meanwhile', ['clear', 'picture', 'stroke'])
def test_a_picture_that_is_slow_to_decode_replaces_nothing_newer(open_page, meanwhile):
    assert open_page(**DESKTOP).evaluate(GIVE_MEANWHILE, meanwhile)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'size', 'is_shown'), [('digit.tiff', 200, False), ('large.bmp', 2500, True)]
)
def test_one_that_the_browser_cannot_show_or_is_too_large_is_recognized(
    open_page, tmp_path, name, size, is_shown
):
    page = open_page(**DESKTOP)
    Image.fromarray(draw(6, size)).convert('RGB').save(tmp_path / name)
    assert ((tmp_path / name).stat().st_size > 16 * 2**20) == is_shown
    page.get_by_label('Choose a picture').set_input_files(tmp_path / name)
    sync_api.expect(page.locator('#digit')).to_have_text('6')
    notice = page.get_by_text('Your browser cannot show this picture')
    assert notice.is_visible() != is_shown
    page.keyboard.press('Escape')
    assert not notice.is_visible()


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_explained(open_page):
    page = open_page(**DESKTOP)
    page.evaluate('take({arrayBuffer: () => Promise.reject(new Error())})')
    text = 'This file cannot be read. Choose a picture.'
    sync_api.expect(page.locator('#message')).to_have_text(text)


@pytest.mark.slow
def test_the_page_for_programs_describes_and_tries(open_page, photograph):
    page = open_page('/docs', **PHONE)
    page.get_by_text('POST /predict').wait_for()
    for word in ('runner_up', 'box', '?single', '413', '503', 'curl -F'):
        assert word in page.locator('#operations').inner_text()
    page.get_by_label('A picture').set_input_files(photograph)
    page.get_by_role('button', name='Send').click()
    sync_api.expect(page.locator('#answer')).to_contain_text('"prediction": "6"')
    assert page.evaluate('document.documentElement.scrollWidth') == 360
