"""The demo's app, in this process: what it answers to good, bad and random uploads."""

import base64
import html
import io
import json
import re
import types

import jsonschema
import numpy as np
import openapi_spec_validator
import pytest
from handwriting_of_digits import draw, to_file
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from mnist_flax.demo import app
from mnist_flax.reading import reader
from mnist_flax.reading.reader import Reader
from mnist_flax.recognition.recognizer import Recognizer

KINDS = ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')
DRAWING = to_file(draw(7))
KIND = 'multipart/form-data; boundary=x'
FORM = {'Content-Type': KIND}
FILE = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\na\r\n--x--'


def draw_ring():
    """A ring with a cross in it."""
    y, x = np.mgrid[-100:100, -100:100]
    ring = (abs(np.hypot(x, y) - 80) < 5) | ((abs(x * y) < 300) & (np.hypot(x, y) < 80))
    return np.where(ring, 0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def loaded():
    return reader.load()


@pytest.fixture(scope='module')
def client(loaded):
    with TestClient(app.create_app(loaded), 'http://localhost') as client:
        yield client


@pytest.fixture(scope='module')
def check(client):
    """Compares answers with what openapi.json promises."""
    description = client.get('/openapi.json').json()
    promised = description['paths']['/predict']['post']['responses']

    def compare(response):
        assert str(response.status_code) in promised
        name = 'Prediction' if response.status_code == 200 else 'Error'
        reference = {
            '$ref': f'#/components/schemas/{name}',
            'components': description['components'],
        }
        jsonschema.validate(response.json(), reference)
        assert response.headers['x-content-type-options'] == 'nosniff'
        if response.status_code != 200:
            assert '\n' not in response.json()['error']

    return compare


def test_its_description_is_valid(client):
    description = client.get('/openapi.json').json()
    openapi_spec_validator.validate(description)
    text = description['paths']['/predict']['post']['description']
    assert f'up to {app.MOST_BYTES >> 20} MiB' in text
    assert f'within {app._UPLOAD_SECONDS} seconds' in text


@pytest.mark.parametrize('kind', KINDS)
def test_a_picture_is_the_body_or_a_form_s_file(client, check, loaded, kind):
    content = to_file(draw(7, size=100), kind)
    by_curl = {'Content-Type': 'application/x-www-form-urlencoded'}  # with --data-binary
    answers = [
        client.post('/predict', content=content),
        client.post('/predict', content=content, headers=by_curl),
        client.post('/predict', files={'file': content}),
        client.post('/predict', files={'image': ('7.bin', content)}, data={'a': 'b'}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        check(answer)
        assert answer.json() == answers[0].json()
    shown = answers[0].json()
    (reading,) = loaded.read([content])
    ((expected, box, _),) = reading.digits
    assert shown['prediction'] == str(expected.label) == '7'
    assert shown['digits'][0]['box'] == pytest.approx(box)
    assert shown['runner_up'] == str(expected.runner_up)
    assert shown['confidence'] == pytest.approx(expected.confidence)
    assert [*shown['probabilities']] == [str(digit) for digit in range(10)]
    np.testing.assert_allclose(
        [*shown['probabilities'].values()], expected.probabilities, atol=1e-6
    )
    image = Image.open(io.BytesIO(base64.b64decode(shown['image'].partition(',')[2])))
    np.testing.assert_array_equal(np.asarray(image), expected.image[..., 0])


def test_several_digits_are_read_unless_one_is_asked_for(client, check):
    content = to_file(np.concatenate([draw(3), draw(8)], axis=1))
    answer = client.post('/predict', content=content)
    check(answer)
    assert answer.json()['prediction'] == '38'
    three, eight = answer.json()['digits']
    assert three['box'][2] < 0.5 < eight['box'][0]
    least = min((three, eight), key=lambda digit: digit['confidence'])
    for name in ('confidence', 'runner_up', 'probabilities'):
        assert answer.json()[name] == least[name]
    answer = client.post('/predict?single', content=content)
    check(answer)
    assert answer.status_code == 422
    assert '2 things are drawn apart from each other' in answer.json()['error']


def test_networks_of_other_classes_get_the_whole_picture(check):
    clothes = Recognizer.__new__(Recognizer)
    clothes.class_names = ('Bag', 'Boot')
    clothes.framing = 'pad'
    clothes.networks = types.SimpleNamespace(
        about={},
        image_shape=(28, 20, 3),
        probabilities=lambda images: np.array([[0.25, 0.75]]),
    )
    client = TestClient(app.create_app(Reader(clothes)), 'http://localhost')
    answer = client.post('/predict', content=to_file(np.full((50, 50), 255, np.uint8)))
    check(answer)
    assert answer.json()['prediction'] == 'Boot'
    assert answer.json()['probabilities'] == {'Bag': 0.25, 'Boot': 0.75}
    page = client.get('/').text
    assert 'digit' not in page.partition('<style>')[0]
    assert '%%' not in page
    assert '<h1>Show a picture</h1>' in page
    assert 'Input, 28 × 20<' in page
    assert 'says which of 2 classes a picture shows' in page
    summary = client.get('/openapi.json').json()['info']
    assert summary['summary'] == 'Says which class a picture shows.'
    assert summary['description'].endswith('The classes are: Bag, Boot.')


@pytest.mark.parametrize(
    ('names', 'title', 'alternative'),
    [
        ('0123456789', 'Draw digits', 'or drop a picture of digits'),
        ('ABC<', 'Draw a character', 'or drop a picture of a character'),
        (
            ['%%size%%', '</script>', '"'],
            'Draw a character',
            'or drop a picture of a character',
        ),
    ],
)
def test_the_page_says_what_the_networks_know(loaded, names, title, alternative):
    other = Recognizer(loaded.recognizer.networks)
    other.class_names = tuple(names)
    page = TestClient(app.create_app(Reader(other)), 'http://localhost').get('/').text
    assert f'<title>{title}</title>' in page
    assert f'</b> {alternative}</p>' in page
    assert 'Input, 28 × 28<' in page
    (classes,) = re.findall('data-classes="(.*?)"', page)
    assert json.loads(html.unescape(classes)) == [*names]


@pytest.mark.parametrize(
    ('request_', 'status', 'message'),
    [
        ({'content': b''}, 400, 'picture: the upload is empty'),
        ({'files': {'file': b''}}, 400, 'picture: the upload is empty'),
        ({'files': {'a': b'x', 'b': b'y'}}, 400, 'Too many files'),
        ({'content': b'x', 'headers': FORM}, 400, ''),
        ({'content': b'--x', 'headers': {'Content-Type': 'multipart/form-data'}}, 400,
         'Missing boundary'),
        ({'content': b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
          'headers': FORM}, 400, 'form: it has no file'),
        ({'content': DRAWING, 'headers': {'Sec-Fetch-Site': 'cross-site'}}, 403,
         'request: it comes from a page of another site'),
        ({'content': DRAWING, 'headers': {'Origin': 'http://localhost:3000'}}, 403,
         'request: it comes from a page of another site'),
        ({'content': DRAWING, 'headers': {'Host': 'rebound.example'}}, 403,
         "this server does not answer to the name 'rebound.example'; use its address"),
        ({'content': FILE, 'headers': {'Content-Type': f'{KIND}; charset=punycode'}}, 400,
         'form: its charset is not known; leave it out'),
        ({'content': FILE,
          'headers': {'Content-Type': f'{KIND}; charset=utf-8; charset=undefined'}}, 400,
         'form: its charset is not known; leave it out'),
        ({'json': {'image': 'data:image/png;base64,iVBORw0KGgo='}}, 415,
         'picture: it came as text, such as JSON, base64 or a data URL; send the bytes of'),
        ({'content': base64.b64encode(DRAWING)}, 415, 'picture: it came as text'),
        ({'content': b'hello'}, 415, 'picture: this kind of file cannot be read; send'),
        ({'content': b'%PDF-1.4'}, 415, 'picture: PDF cannot be read; send one of'),
        ({'content': DRAWING[:300]}, 422, 'picture: '),
        ({'content': to_file(np.full((50, 50), 255, np.uint8))}, 422, 'picture: '),
        ({'content': to_file(draw_ring())}, 422, 'does not look like digits'),
        ({'content': to_file(np.zeros((9000, 9000), bool))}, 422, '9000 x 9000'),
        ({'content': bytes(app.MOST_BYTES + 1)}, 413, 'upload: larger than 16 MiB'),
        ({'files': {'file': bytes(app.MOST_BYTES)}}, 413, 'upload: larger than 16 MiB'),
    ],
)  # fmt: skip
def test_a_bad_upload_is_explained_in_one_line(client, check, request_, status, message):
    answer = client.post('/predict', **request_)
    assert answer.status_code == status, answer.text
    assert message in answer.json()['error']
    check(answer)


def test_wrong_addresses_are_json_too(client):
    for answer, status in (
        (client.get('/nowhere'), 404),
        # Not redirected to where the client says that the server is.
        (client.post('/predict/'), 404),
        (client.get('/predict'), 405),
        (client.post('/'), 405),
    ):
        assert answer.status_code == status
        assert [*answer.json()] == ['error']


def test_too_many_uploads_are_refused_and_leave_no_trace(loaded, check, monkeypatch):
    def refuse(content, **limits):
        for name, value in limits.items():
            monkeypatch.setattr(app, name, value)
        client = TestClient(app.create_app(loaded), 'http://localhost')
        for _ in range(3):
            answer = client.post('/predict', content=content)
            assert (answer.status_code, answer.headers['retry-after']) == (503, '1')
            check(answer)
        monkeypatch.undo()
        return client

    refuse(DRAWING, _AT_ONCE=0, _MOST_WAITING=0)
    refuse(DRAWING, _AT_ONCE=0, _WAITING_SECONDS=0.01)
    client = refuse(
        to_file(np.zeros((3000, 2000), bool)), _LARGE_AT_ONCE=0, _MOST_LARGE_WAITING=0
    )
    assert client.post('/predict', content=DRAWING).status_code == 200
    client = refuse(bytes(2**20), _MOST_HELD=1000)
    monkeypatch.setattr(app, '_MOST_HELD', 2**20)
    for _ in range(3):
        assert client.post('/predict', content=DRAWING + bytes(2**20)).status_code == 200


@pytest.mark.parametrize('address', ['/', '/docs'])
def test_a_page_works_under_another_path(client, address):
    page = client.get(address).text
    assert not re.findall(r'(?:fetch\(|href=|src=|action=)[\'"]/', page)
    assert re.findall(r"fetch\('predict'", page)
    assert 'location.origin' not in page


@pytest.mark.parametrize('address', ['/', '/docs'])
def test_a_page_loads_nothing_from_elsewhere(client, address):
    page = client.get(address)
    assert page.headers['content-type'] == 'text/html; charset=utf-8'
    policy = page.headers['content-security-policy']
    assert policy.startswith("default-src 'none'; ")
    assert 'unsafe' not in policy
    assert '*' not in policy


PIECES = (
    b'--x\r\n', b'--x--', b'\r\n', b'\r\n\r\n', b'Content-Disposition: form-data; ',
    b'name="file"; ', b'filename="a"', b"filename*=utf-16''%ff", b'name=', b'--x',
    b'\xff', DRAWING,
)  # fmt: skip
CHARSETS = ('utf-8', 'utf-16', 'idna', 'punycode', 'undefined', 'hex', 'unicode_escape')


@given(st.data())
@settings(max_examples=80)
def test_random_and_damaged_uploads_end_in_an_answer(client, check, data):
    form = st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=12)
    files = st.sampled_from([to_file(draw(5, size=64), kind) for kind in KINDS])
    content = bytearray(data.draw(form.map(b''.join) | files))
    for _ in range(data.draw(st.integers(0, 8)) if content else 0):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    charset = data.draw(st.sampled_from(['', *(f'; charset={name}' for name in CHARSETS)]))
    kind = data.draw(st.sampled_from(['', 'image/png', FORM['Content-Type'] + charset]))
    check(client.post('/predict', content=content, headers={'Content-Type': kind}))
