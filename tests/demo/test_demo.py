"""The demo's server, in this process: what it answers to good, bad and random uploads."""

import asyncio
import base64
import io
import json

import jsonschema
import numpy as np
import openapi_spec_validator
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from test_framing import draw

from mnist_flax.demo.app import app
from mnist_flax.recognition import recognizer


def to_file(pixels, kind='PNG'):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope='module')
def recognizer():
    return recognizer.load()


@pytest.fixture(scope='module')
def client(recognizer):
    with TestClient(app.create_app(recognizer)) as client:
        yield client


@pytest.fixture(scope='module')
def check(client):
    """Compares answers with what openapi.json promises."""
    description = client.get('/openapi.json').json()
    promised = description['paths']['/predict']['post']['responses']
    schemas = description['components']['schemas']

    def compare(response):
        assert str(response.status_code) in promised
        name = 'Prediction' if response.status_code == 200 else 'Error'
        jsonschema.validate(response.json(), schemas[name])
        assert response.headers['x-content-type-options'] == 'nosniff'
        if response.status_code != 200:
            assert '\n' not in response.json()['error']
            assert '; allowed: ' in response.json()['error']

    return compare


def test_its_description_is_valid(client):
    description = client.get('/openapi.json').json()
    openapi_spec_validator.validate(description)
    text = description['paths']['/predict']['post']['description']
    assert f'up to {app.MOST_BYTES >> 20} MiB' in text
    assert f'within {app._UPLOAD_SECONDS} seconds' in text


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM'])
def test_a_picture_is_the_body_or_a_form_s_file(client, check, recognizer, kind):
    content = to_file(draw(7, size=100), kind)
    answers = [
        client.post('/predict', content=content),
        # As `curl --data-binary` says it.
        client.post(
            '/predict',
            content=content,
            headers={'Content-Type': 'application/x-www-form-urlencoded'},
        ),
        client.post('/predict', files={'file': content}),
        client.post('/predict', files={'image': ('7.bin', content)}, data={'a': 'b'}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        check(answer)
        assert answer.json() == answers[0].json()
    said = answers[0].json()
    (expected,) = recognizer.predict([content])
    assert said['prediction'] == str(expected.label) == '7'
    assert said['runner_up'] == str(expected.runner_up)
    assert said['confidence'] == pytest.approx(expected.confidence)
    assert [*said['probabilities']] == [str(digit) for digit in range(10)]
    np.testing.assert_allclose(
        [*said['probabilities'].values()], expected.probabilities, atol=1e-6
    )
    seen = Image.open(io.BytesIO(base64.b64decode(said['image'].partition(',')[2])))
    np.testing.assert_array_equal(np.asarray(seen), expected.image[..., 0])


def two():
    return to_file(np.concatenate([draw(4), draw(7)], axis=1))


@pytest.mark.parametrize(
    ('request_', 'status', 'message'),
    [
        ({'content': b''}, 400, 'picture: found nothing; allowed'),
        ({'files': {'file': b''}}, 400, 'picture: found nothing; allowed'),
        ({'files': {'a': b'x', 'b': b'y'}}, 400, 'form: Too many files'),
        ({'content': b'--x', 'headers': {'Content-Type': 'multipart/form-data'}}, 400,
         'form: Missing boundary'),
        ({'content': b'x', 'headers': {'Content-Type': 'multipart/form-data; boundary=y'}},
         400, 'form: '),
        ({'content': b'hello'}, 415, 'picture: found another kind of file; allowed: PNG,'),
        ({'content': b'%PDF-1.7 '}, 415, 'picture: found another kind of file'),
        ({'content': to_file(draw(7))[:300]}, 422, 'picture: found no picture, or a damag'),
        ({'content': to_file(np.full((50, 50), 255, np.uint8))}, 422, 'found nothing draw'),
        ({'content': two()}, 422, 'picture: found 2 things drawn apart'),
        ({'content': to_file(np.zeros((9000, 9000), bool))}, 422, 'found 9000 x 9000'),
        ({'content': bytes(app.MOST_BYTES + 1)}, 413, 'found more than 16 MiB'),
        ({'content': (bytes(2**20) for _ in range(17))}, 413, 'found more than 16'),
        ({'files': {'file': bytes(app.MOST_BYTES)}}, 413, 'found more than 16 MiB'),
    ],
)  # fmt: skip
def test_a_bad_upload_is_said_in_one_line(client, check, request_, status, message):
    answer = client.post('/predict', **request_)
    assert (answer.status_code, message in answer.text) == (status, True), answer.text
    check(answer)


def test_a_form_without_a_file_is_said(client, check):
    fields = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n'
    headers = {'Content-Type': 'multipart/form-data; boundary=x'}
    answer = client.post('/predict', content=fields, headers=headers)
    assert (answer.status_code, 'found no file' in answer.text) == (400, True)
    check(answer)


def test_errors_of_addresses_are_json_too(client):
    assert client.get('/nowhere').status_code == 404
    assert client.get('/nowhere').json()['error'].startswith("path: found '/nowhere'; ")
    # No redirect, which would be built from what the client says the server is called.
    assert client.post('/predict/').status_code == 404
    assert client.get('/predict').status_code == 405
    assert client.post('/').status_code == 405
    for answer in (client.get('/nowhere'), client.get('/predict'), client.post('/')):
        assert [*answer.json()] == ['error']


def test_pages_of_other_sites_are_refused(client):
    file = to_file(draw(7))
    for site, status in (('cross-site', 403), ('same-origin', 200)):
        answer = client.post('/predict', content=file, headers={'Sec-Fetch-Site': site})
        assert answer.status_code == status


def test_an_upload_that_takes_too_long_is_said(client, monkeypatch):
    monkeypatch.setattr(demo, '_UPLOAD_SECONDS', 0.1)
    sent = []

    async def receive():
        await asyncio.sleep(3600)

    async def send(message):
        sent.append(message)

    scope = {'type': 'http', 'method': 'POST', 'path': '/predict', 'headers': []}
    asyncio.run(client.app(scope, receive, send))
    assert sent[0]['status'] == 408
    assert 'upload: not whole after 0.1 s; allowed' in json.loads(sent[1]['body'])['error']


def test_too_many_uploads_are_sent_away_and_leave_no_trace(client, check, monkeypatch):
    content = to_file(draw(7))
    with monkeypatch.context() as patch:
        patch.setattr(demo, '_MOST_WAITING', 0)
        answers = [client.post('/predict', content=content)]
        patch.setattr(demo, '_MOST_WAITING', 1)
        patch.setattr(demo, '_MOST_HELD', 1000)
        # Drawings are let in, however many large ones are held.
        for _ in range(2):
            assert client.post('/predict', content=content).status_code == 200
        answers += [client.post('/predict', content=bytes(2**20)) for _ in range(3)]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers['retry-after'] == '1'
        check(answer)
    monkeypatch.setattr(demo, '_MOST_HELD', 2**20)
    for _ in range(3):
        assert client.post('/predict', content=content + bytes(2**20)).status_code == 200


@pytest.mark.parametrize('address', ['/', '/docs'])
def test_a_page_loads_nothing_from_outside(client, address):
    page = client.get(address)
    assert page.headers['content-type'] == 'text/html; charset=utf-8'
    policy = page.headers['content-security-policy']
    assert policy.startswith("default-src 'none'; ")
    assert 'unsafe' not in policy
    assert '*' not in policy
    for scheme in ('https:', '//cdn', ' src="http', 'url(http', '@import'):
        assert scheme not in page.text


KINDS = {
    kind: to_file(draw(5, size=64), kind)
    for kind in ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')
}


@given(st.data())
@settings(max_examples=30)
def test_random_and_damaged_uploads_end_in_an_answer(client, check, data):
    content = data.draw(st.binary(max_size=200) | st.sampled_from([*KINDS.values()]))
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(0, 8)) if content else 0):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    damaged = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    kind = data.draw(st.sampled_from(['', 'image/png', 'multipart/form-data; boundary=x']))
    check(client.post('/predict', content=damaged, headers={'Content-Type': kind}))


@given(st.data())
@settings(max_examples=50)
def test_random_forms_end_in_an_answer(client, check, data):
    heads = (
        b'--x\r\n', b'--x--', b'\r\n', b'\r\n\r\n', b'Content-Disposition: form-data; ',
        b'name="file"; ', b'filename="a"', b"filename*=utf-16''%ff", b'name=', b'--x',
        b'\xff', KINDS['PNG'],
    )  # fmt: skip
    parts = data.draw(
        st.lists(st.sampled_from(heads) | st.binary(max_size=20), max_size=12)
    )
    charset = data.draw(st.sampled_from(['', '; charset=utf-16', '; charset=idna']))
    kind = 'multipart/form-data; boundary=x' + charset
    answer = client.post(
        '/predict', content=b''.join(parts), headers={'Content-Type': kind}
    )
    check(answer)
