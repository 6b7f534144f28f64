"""The demo's page in a browser: its windows, a hand that draws on it, and its answers."""

import shutil

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')

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
    """What the page shows when it has been answered."""
    page.wait_for_selector('#answer[aria-busy=false]')
    return page.locator('#digit').inner_text()


def message(page):
    page.wait_for_selector('#answer[aria-busy=false]')
    return page.locator('#message').inner_text()
