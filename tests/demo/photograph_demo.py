"""Photographs the demo's page, with digits drawn by hand, for the docs.

python tests/demo/photograph_demo.py docs/demo.png
"""

import sys

from demo_page import CHROMIUM, DESKTOP, answer, draw_by_mouse
from demo_process import serve
from handwriting_of_digits import write
from playwright import sync_api

with serve() as server, sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=CHROMIUM)
    page = browser.new_page(**DESKTOP)
    page.goto(server.url)
    for digit, place in (
        (3, (0.02, 0.04, 0.45)),
        (8, (0.34, 0.02, 0.45)),
        (1, (0.1, 0.5, 0.45)),
    ):
        draw_by_mouse(page, write(digit, place, seed=2))
    answer(page)
    page.wait_for_timeout(500)  # the bars grow
    page.screenshot(path=sys.argv[1])
