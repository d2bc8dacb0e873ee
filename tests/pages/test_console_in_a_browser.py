"""The console of a real worker in a real browser: looked up, kept up to date, by keyboard, dark and on a phone."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from streams.console.pages import LIVE, LOOK_UP
from tests.deployment import Deployment
from tests.pages.browser import ENTER, TAB, chromium
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pages.browser import Browser
    from tests.processes import Worker

TOKEN = "t0ken-" * 6
HOSTILE = "\"><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">\u202e"
LONG = "\U0001f512日ü-" * 64


@pytest.fixture(scope="module")
def gate(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a deployment with a console on loopback, and presses of a short policy."""
    folder = tmp_path_factory.mktemp("console")
    deployment = Deployment(bootstrap, f"console-{os.getpid()}", folder, 3, {"GATE_CONSOLE": "1"})
    deployment.policy(minimum=1, default=172_800)
    deployment.create_topics()
    deployment.worker()
    yield deployment
    deployment.stop()
    deployment.delete_topics()


@pytest.fixture(scope="module")
def worker(gate: Deployment) -> Worker:
    """Return its worker."""
    return gate.workers[0].wait_ready()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser."""
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def window(browser: Browser) -> Iterator[None]:
    """Give each test a window as on a desk; afterwards the policy must have refused nothing, and no script failed."""
    browser.look(width=1280, height=900, dark=False)
    yield
    assert browser.complaints() == []


def url(worker: Worker, path: str) -> str:
    """Return the address of a page."""
    return f"http://127.0.0.1:{worker.port}{path}"


def wait_focus(browser: Browser, name: str) -> None:
    """Wait until that element has the focus; a browser gives it when it draws the page."""
    wait_for(lambda: browser.focused() == name, f"the focus on {name}")


def look_up(browser: Browser, worker: Worker, account_id: str) -> None:
    """Open the form, type an id, Enter."""
    browser.go(url(worker, LOOK_UP))
    wait_focus(browser, "account")
    browser.keys(account_id, ENTER)


def looked_up(browser: Browser, worker: Worker, account_id: str) -> str:
    """Look an account up and return the answer."""
    look_up(browser, worker, account_id)
    wait_focus(browser, "verdict")
    return browser.text("main")


def test_a_freeze_is_looked_up_by_keyboard_alone_and_counts_down(
    gate: Deployment, worker: Worker, browser: Browser
) -> None:
    """Type, Enter: the answer has the focus, its address does not name the account, and the time left runs."""
    with gate.publisher() as client:
        client.press("acc-42", 7_200, press_id="p-7")
        for _ in range(3):
            client.request("acc-42")
    wait_for(lambda: "3, by all workers" in looked_up(browser, worker, "acc-42"), "the stops to be counted")
    said = browser.text("main")
    for told in ("acc-42", "p-7", "2 h: as asked for", "goes out"):
        assert told in said, told
    wait_focus(browser, "verdict")
    assert "acc-42" not in browser.run("location.href + document.title")
    before = browser.text("#left")
    assert before.startswith("0 d 01 h 5")
    wait_for(lambda: browser.text("#left") < before, "the time left to fall")
    browser.keys(TAB)
    assert browser.focused() == "Look up"
    browser.keys(TAB, TAB)
    assert browser.focused() == "account"


def test_who_is_not_frozen_is_told_so_in_the_same_place(worker: Worker, browser: Browser) -> None:
    """The answer to the question, and nothing about anybody else."""
    look_up(browser, worker, "acc-free")
    assert browser.wait_text("Not frozen", "#verdict")
    assert "No freeze of acc-free is in force." in browser.text("main")


def test_a_freeze_that_ends_while_it_is_looked_at_says_so(gate: Deployment, worker: Worker, browser: Browser) -> None:
    """The time runs down to nothing, once, and the page says that it has to be asked again."""
    with gate.publisher() as client:
        client.press("acc-short", 8)
    wait_for(lambda: worker.get("/freezes/acc-short")[0] == 200, "the freeze")
    look_up(browser, worker, "acc-short")
    browser.wait_text("Frozen", "#verdict")
    assert browser.wait_text("The time is over", "#over")
    assert browser.text("#left") == "0 d 00 h 00 min 00 s"
    wait_for(lambda: worker.get("/freezes/acc-short")[0] == 404, "the end by the brokers' time")
    look_up(browser, worker, "acc-short")
    assert "It ended" in browser.wait_text("Not frozen", "main")


@pytest.mark.parametrize("account_id", [HOSTILE, LONG], ids=["markup", "long"])
def test_an_account_with_a_hostile_name_is_text_and_breaks_no_layout(
    gate: Deployment, worker: Worker, browser: Browser, account_id: str
) -> None:
    """Nothing of it runs, nothing is loaded for it, and the page is no wider than a phone."""
    with gate.publisher() as client:
        client.press(account_id, press_id=account_id[:128])
    browser.look(width=320, height=640, dark=True)
    browser.go(url(worker, LOOK_UP))
    wait_focus(browser, "account")
    browser.run(f"void (document.querySelector('#account').value = {json.dumps(account_id)})")
    browser.keys(TAB, ENTER)
    said = browser.wait_text("Frozen until", "main")
    assert said.count(account_id[:64].replace("\u202e", "U+202E")) >= 2
    assert browser.run("document.title").startswith("Look-up: frozen")
    assert browser.run("document.querySelectorAll('main img, main script').length") == 0
    assert browser.overflow() == 0


@pytest.mark.parametrize("path", [LOOK_UP, LIVE])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_each_page_fits_a_phone_in_light_and_in_dark(
    worker: Worker, browser: Browser, path: str, *, dark: bool
) -> None:
    """At 320 pixels nothing has to be moved sideways, and the scheme is the reader's."""
    browser.look(width=320, height=640, dark=dark)
    browser.go(url(worker, path))
    assert browser.overflow() == 0
    red = int(browser.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]"))
    assert (red < 64) == dark


def test_the_live_page_keeps_itself_up_to_date(gate: Deployment, worker: Worker, browser: Browser) -> None:
    """What is decided after it was opened appears, with a rate; Pause by keyboard makes it stand still."""
    browser.go(url(worker, LIVE))
    browser.wait_text("This worker is ready", "#state")
    assert browser.wait_text("0, 1, 2", "#partitions")
    assert browser.wait_text("1", "#workers")
    before = int(browser.text("#decided").replace(",", ""))
    wait_for(lambda: browser.text("#rate") == "0", "a rate of nothing")
    with gate.publisher() as client:
        for number in range(500):
            client.request(f"acc-{number}")
    wait_for(lambda: int(browser.text("#decided").replace(",", "")) == before + 500, "the decisions to be shown")
    assert browser.text("#rate") != "0"
    while browser.focused() != "pause":
        browser.keys(TAB)
    browser.keys(ENTER)
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert browser.wait_text("Paused", "#state")
    browser.keys(ENTER)
    assert browser.wait_text("This worker is ready", "#state")


def test_off_loopback_a_browser_signs_in_with_the_token(gate: Deployment, browser: Browser) -> None:
    """Form, wrong token, right token, look-up, sign out; the token is in no address and in no cookie."""
    path = gate.folder / "token"
    path.write_text(TOKEN)
    second = gate.worker(GATE_CONSOLE_TOKEN_FILE=str(path)).wait_ready()
    browser.go(url(second, LIVE))
    assert "Sign in" in browser.text("h1")
    wait_focus(browser, "token")
    browser.keys("not-the-token", ENTER)
    browser.wait_text("not the token", "[role=alert]")
    wait_focus(browser, "token")
    browser.keys(TOKEN, ENTER)
    assert browser.wait_text("Look up an account", "h1")
    assert TOKEN not in browser.run("location.href + document.cookie")
    wait_focus(browser, "account")
    browser.keys("acc-free", ENTER)
    assert browser.wait_text("Not frozen", "#verdict")
    browser.go(url(second, LIVE))
    browser.wait_text("This worker is ready", "#state")
    second.stop()
    browser.wait_text("does not answer", "#state")
    refused = [line for line in browser.complaints() if "401" not in line and "ERR_CONNECTION" not in line]
    assert refused == []
