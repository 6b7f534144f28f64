"""Photographs the demo's page, with a digit drawn by hand, for the docs.

python tests/demo/photograph_demo.py docs/demo.png
"""

import sys

from demo_page import CHROMIUM, DESKTOP, PLACES, answer, draw_by_mouse
from demo_process import serve
from handwriting_of_digits import write
from playwright import sync_api

with serve() as server, sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=CHROMIUM)
    page = browser.new_page(**DESKTOP)
    page.goto(server.url)
    draw_by_mouse(page, write(3, PLACES[0], seed=2))
    answer(page)
    page.wait_for_timeout(500)  # the bars grow
    page.screenshot(path=sys.argv[1])
