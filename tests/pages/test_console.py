"""The console over HTTP: who is let in, what is answered, and that nothing of an account gets out another way."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.console.access import COOKIE, SESSION_SECONDS, ConsoleToken
from streams.console.pages import (
    FIGURES,
    LIVE,
    LOOK_UP,
    ONLY_READS,
    SCRIPT,
    SHEET,
    SIGN_IN,
    SIGN_OUT,
    frozen_answer,
    left_text,
)
from streams.console.stopped import Stop, StoppedCount
from streams.rule import FreezePolicy, PolicyEntry, freeze_of_press
from tests.pages.reading import UNSEEN, Page
from tests.pages.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pages.serving import Served

TOKEN = "t0ken-" * 6
PAGES = (LOOK_UP, LIVE, FIGURES)
HOUR = 3_600
NONE_STOPPED = StoppedCount(0, 0, until_ms=0, fresh=True, readable=True, left=0)
# As account ids: all of them are legal.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)><input value='",
    "&lt;b&gt;",
    "gpj\u202eexe",
    "a\u200bb\u2066c",
    "\x00\x1b[31m",
    "日本-ünï-\U0001f512",
    "%00&account_id=other+x",
    "".join(map(chr, range(0x4E00, 0x4E00 + 256))),
    "".join(map(chr, range(0x20000, 0x20000 + 256))),
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Served]:
    """Serve a console on loopback, without a token."""
    with served(tmp_path, GATE_CONSOLE="1") as made:
        yield made


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Served]:
    """Serve a console with a token on every address, as a container does."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    with served(tmp_path, GATE_CONSOLE="1", GATE_CONSOLE_TOKEN_FILE=str(path)) as made:
        yield made


def test_without_the_setting_there_is_no_console(tmp_path: Path) -> None:
    """Every path of it is 404, and nothing is counted for it."""
    with served(tmp_path) as plain:
        for path in (*PAGES, SHEET, SCRIPT, SIGN_IN, SIGN_OUT):
            assert [plain.ask("GET", path).status, plain.ask("POST", path, {}).status] == [404, 404], path
        assert plain.runtime.stopped is None


def test_a_frozen_account_is_told_with_all_that_support_needs(here: Served) -> None:
    """Since, until, time left, by which press, what was adjusted, how many were stopped, when the reminder goes."""
    here.press("acc-42", asked=HOUR, press_id="p-7", ago_ms=10 * HOUR * 1000)
    freeze = here.table.get("acc-42")
    assert freeze is not None
    assert here.runtime.stopped is not None
    here.runtime.stopped.add([Stop("acc-42", freeze.frozen_until_ms, 0)] * 3)
    here.runtime.stopped.read_until(0, time.monotonic())
    answer = here.ask("POST", LOOK_UP, {"account_id": "acc-42"})
    page = Page(answer.text)
    assert answer.status == 200
    for told in ("Frozen until", "Frozen since", "acc-42", "p-7", "3, by all workers", "goes out", ONLY_READS):
        assert told in page.text, told
    assert "24 h: raised to the policy's shortest (asked for: 1 h)" in page.text
    assert "0 d 13 h 59 min 59 s" in page.text or left_text(14 * HOUR) in page.text


def test_an_account_that_is_not_frozen_is_told_so_and_what_was_last(here: Served) -> None:
    """Nobody pressed; or a freeze has ended by itself."""
    never = here.ask("POST", LOOK_UP, {"account_id": "acc-1 "})
    assert never.status == 200
    assert "Not frozen" in never.text
    assert "ends with a space" in never.text
    assert "Last freeze" not in never.text
    here.press("acc-2", press_id="p-2", ago_ms=1000 * 200 * HOUR)
    ended = here.ask("POST", LOOK_UP, {"account_id": "acc-2"}).text
    assert "Not frozen" in ended
    assert "p-2" in Page(ended).text.partition("Last freeze from")[2]


def test_while_the_table_is_not_current_nobody_is_told_to_be_free(here: Served) -> None:
    """503 with the reason and who can tell; a freeze that is known is told, for it can only have grown."""
    here.press("acc-1")
    here.runtime.health.set("table", "7 presses are not in the freeze table yet")
    unknown = here.ask("POST", LOOK_UP, {"account_id": "acc-2"})
    assert unknown.status == 503
    for told in ("Not known", "table: 7 presses are not in the freeze table yet", "withdrawal-gate status"):
        assert told in Page(unknown.text).text
    assert "Not frozen" not in unknown.text
    known = here.ask("POST", LOOK_UP, {"account_id": "acc-1"})
    assert known.status == 200
    assert "can have moved later" in known.text
    here.runtime.table = None
    assert here.ask("POST", LOOK_UP, {"account_id": "acc-1"}).status == 503


def test_what_can_be_no_account_is_refused_in_words(here: Served) -> None:
    """Nothing, too long, no form, bad escapes, twice, too many fields, too large: 4xx, and never an error of ours."""
    for form in (b"", b"account_id=", b"account_id=%ff", b"account_id=\xff", b"a=1", b"account_id=a&account_id=b",
                 b"account_id=a&" + b"x=1&" * 9, b"account_id=" + b"x" * 257, b"account_id=" + b"x" * 1_024,
                 b"account_id=" + b"%F0%9F%94%92" * 1_024, b"account_id=%ED%A0%80"):  # fmt: skip
        answer = here.ask("POST", LOOK_UP, form)
        assert answer.status == 400, form[:40]
        assert "1 to 256 characters" in answer.text
    for other in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
        assert here.ask("POST", LOOK_UP, b"account_id=a", headers={"Content-Type": other}).status == 400
    assert here.ask("POST", LOOK_UP, b"account_id=" + b"x" * 20_000).status == 413


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=600), prefix=st.sampled_from((b"", b"account_id=", b"account_id=a&")))
def test_any_form_is_answered_and_none_is_an_error(here: Served, body: bytes, prefix: bytes) -> None:
    """Whatever is sent, it names an account, or it is refused."""
    assert here.ask("POST", LOOK_UP, prefix + body).status in {200, 400}


def test_whatever_an_account_is_called_is_shown_as_text(here: Served) -> None:
    """No markup, no unseen character; frozen or not, in the id and in the press."""
    plain = Page(here.ask("POST", LOOK_UP, {"account_id": "a"}).text)
    here.press("a", press_id="a")
    frozen = Page(here.ask("POST", LOOK_UP, {"account_id": "a"}).text)
    for hostile in HOSTILE:
        for expected, times in ((plain, 1), (frozen, 2)):
            answer = here.ask("POST", LOOK_UP, {"account_id": hostile})
            page = Page(answer.text)
            assert answer.status == 200
            assert [tag for tag in page.tags if tag != "mark"] == expected.tags, ascii(hostile)
            assert page.attributes == expected.attributes
            assert not [unseen for unseen in UNSEEN if unseen in answer.text]
            if hostile.isprintable():
                assert page.text.count(hostile[:128]) == times
            here.press(hostile, press_id=hostile[:128])


def test_an_account_id_stands_in_no_header_title_or_log(here: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A title is kept in the history of the browser, a header by proxies; what is asked is in the body alone."""
    caplog.set_level(logging.DEBUG)
    for marker in ("acc-marked", "acc-marked\x00\udcff".encode("utf-8", "surrogateescape").decode("latin-1")):
        for _ in range(2):
            answer = here.ask("POST", LOOK_UP, {"account_id": marker})
            assert "acc-marked" not in str(answer.headers) + answer.text.partition("</title>")[0]
            here.press("acc-marked")
    here.ask("GET", f"{LOOK_UP}?account_id=acc-marked")
    assert "acc-marked" not in caplog.text


def test_on_loopback_only_who_names_this_machine_is_answered(here: Served) -> None:
    """A page whose name was turned to point here (DNS rebinding) reads nothing; a tunnel's port does not matter."""
    for host in ("localhost", "LOCALHOST:9000", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3:1"):
        assert [here.ask("GET", path, headers={"Host": host}).status for path in PAGES] == [200] * 3, host
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1",
                 "[::2]", "0.0.0.1", "", "127.0.0.1:8080:1", "localhost@evil", "2130706433", "[::1"):  # fmt: skip
        assert [here.ask("GET", path, headers={"Host": host}).status for path in PAGES] == [403] * 3, host
        assert here.ask("POST", LOOK_UP, {"account_id": "a"}, headers={"Host": host}).status == 403


def test_a_form_that_another_site_sends_is_refused(here: Served) -> None:
    """The browser says where a form comes from; a tool says nothing."""
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert here.ask("POST", LOOK_UP, {"account_id": "a"}, headers={"Sec-Fetch-Site": site}).status == status, site


def test_with_a_token_nothing_is_shown_to_who_does_not_have_it(guarded: Served) -> None:
    """401 and the sign-in form, whatever else is sent; style and script tell nothing and are open."""
    guarded.press("acc-42")
    wrong: list[dict[str, str]] = [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Cookie": f"{COOKIE}="}]
    wrong += [{"Authorization": f"Bearer {given}"} for given in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\xff")]
    wrong += [{"Authorization": given} for given in (TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}")]
    wrong += [{"Cookie": f"{COOKIE}={TOKEN}"}, {"Host": "localhost"}, {"X-Forwarded-For": "127.0.0.1"}]
    for headers in wrong:
        answers = [guarded.ask("GET", path, headers=headers) for path in (*PAGES, SIGN_OUT, f"{LOOK_UP}/nothing")]
        answers.append(guarded.ask("POST", LOOK_UP, {"account_id": "acc-42"}, headers=headers))
        for answer in answers:
            assert answer.status == 401, headers
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert 'name="token"' in answer.text
            assert "Frozen" not in answer.text
    assert [guarded.ask("GET", path).status for path in (SHEET, SCRIPT, SIGN_IN)] == [200] * 3


def test_the_token_lets_in_as_a_bearer_wherever_the_request_comes_from(guarded: Served) -> None:
    """As a reverse proxy sends it, whatever name it was called by."""
    for scheme in ("Bearer", "bearer"):
        headers = {"Authorization": f"{scheme} {TOKEN}", "Host": "console.example"}
        assert [guarded.ask("GET", path, headers=headers).status for path in PAGES] == [200] * 3
        assert "Not frozen" in guarded.ask("POST", LOOK_UP, {"account_id": "a"}, headers=headers).text


def signed_in(guarded: Served, headers: dict[str, str] | None = None) -> str:
    """Sign in, and return the cookie as it was set."""
    answer = guarded.ask("POST", SIGN_IN, {"token": TOKEN}, headers=headers)
    assert (answer.status, answer.headers["Location"]) == (303, LOOK_UP)
    (cookie,) = answer.cookies
    return cookie


def test_signing_in_gives_a_cookie_that_is_not_the_token(guarded: Served) -> None:
    """Out of the reach of scripts and of other sites, for the console alone, secure where the proxy speaks TLS."""
    cookie = signed_in(guarded)
    value, _, options = cookie.partition("; ")
    assert TOKEN not in cookie
    assert set(options.split("; ")) == {"HttpOnly", f"Max-Age={SESSION_SECONDS}", "Path=/console", "SameSite=Strict"}
    assert "; Secure" in signed_in(guarded, {"X-Forwarded-Proto": "https"})
    assert [guarded.ask("GET", path, headers={"Cookie": value}).status for path in PAGES] == [200] * 3
    assert "Sign out" in guarded.ask("GET", LOOK_UP, headers={"Cookie": value}).text
    out = guarded.ask("POST", SIGN_OUT, {}, headers={"Cookie": value})
    assert (out.status, out.headers["Location"]) == (303, SIGN_IN)
    assert f'{COOKIE}=""' in out.cookies[0]
    assert "Max-Age=0" in out.cookies[0]


def test_a_wrong_token_signs_nobody_in_and_is_not_repeated(guarded: Served) -> None:
    """401 with the form again, and no cookie."""
    for form in ({"token": "wrong-token"}, {"token": ""}, {"other": TOKEN}, {"token": TOKEN[:-1]}, {"token": "\xff"}):
        answer = guarded.ask("POST", SIGN_IN, form)
        assert (answer.status, answer.cookies) == (401, [])
        assert "not the token" in answer.text
        assert "wrong-token" not in answer.text
    assert guarded.ask("POST", SIGN_IN, b"token=\xff", headers={"Content-Type": "text/plain"}).status == 401


def test_a_forged_altered_or_ended_cookie_is_none(guarded: Served) -> None:
    """Another end, another mark, another token's, one of yesterday, nonsense of any length."""
    value = signed_in(guarded).partition("; ")[0].partition("=")[2]
    end, _, mark = value.partition(".")
    token, other = ConsoleToken(TOKEN.encode()), ConsoleToken(b"o" * 36)
    ended = token.session(time.time() - SESSION_SECONDS - 1)
    flipped = mark[:-1] + ("0" if mark[-1] != "0" else "1")
    for forged in (f"{int(end) + 1}.{mark}", f"{end}.{flipped}", f"0{end}.{mark}", f"{end}.{mark.upper()}", f"{end}.",
                   other.session(time.time()), ended, f".{mark}", f"{value}0", "x" * 4_000, f"9{value}"):  # fmt: skip
        assert guarded.ask("GET", LOOK_UP, headers={"Cookie": f"{COOKIE}={forged}"}).status == 401, forged[:80]
    assert guarded.ask("GET", LOOK_UP, headers={"Cookie": f"{COOKIE}={value}"}).status == 200
    assert not token.is_session(token.session(0), SESSION_SECONDS)
    assert token.is_session(token.session(0), SESSION_SECONDS - 1)


def test_the_console_only_reads_whatever_the_method(guarded: Served) -> None:
    """Nothing but GET, and POST where there is a form: no method, path or field ends a freeze."""
    guarded.press("acc-42")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    before = guarded.table.get("acc-42")
    for path in (*PAGES, SHEET, SCRIPT, SIGN_IN, SIGN_OUT):
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            assert guarded.ask(method, path, {"account_id": "acc-42"}, headers=bearer).status == 405, (method, path)
    for path in (LIVE, FIGURES, SHEET, SCRIPT):
        assert guarded.ask("POST", path, {"account_id": "acc-42"}, headers=bearer).status == 405
    for action in ("unfreeze", "lift", "end", "acc-42"):
        assert guarded.ask("POST", f"{LOOK_UP}/{action}", {"account_id": "acc-42"}, headers=bearer).status == 404
    guarded.ask("POST", LOOK_UP, {"account_id": "acc-42", "frozen": "false"}, headers=bearer)
    assert guarded.table.get("acc-42") == before


def test_every_answer_binds_the_browser_errors_too(guarded: Served) -> None:
    """The policy, no sniffing, no referrer, nothing kept in a cache, nothing for another site."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answers = [
        guarded.ask("GET", path, headers=bearer) for path in (*PAGES, SHEET, SCRIPT, SIGN_IN, f"{LOOK_UP}/nothing")
    ]
    answers += [guarded.ask("GET", LOOK_UP), guarded.ask("DELETE", LOOK_UP, headers=bearer)]
    answers.append(guarded.ask("POST", LOOK_UP, {"account_id": "x" * 20_000}, headers=bearer))
    assert [answer.status for answer in answers] == [200] * 6 + [404, 401, 405, 413]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "style=" not in answer.text.replace("font-style=", "")
        assert "<style" not in answer.text


def test_the_figures_are_those_of_the_metrics(here: Served) -> None:
    """What the live page shows, also before the worker has opened anything."""
    first = json.loads(here.ask("GET", FIGURES).text)
    assert (first["approved"], first["workers"], first["partitions"], first["problems"]) == (0, None, [], [])
    metrics = here.runtime.metrics
    metrics.decisions.labels("approved", "none").inc(7)
    metrics.decisions.labels("rejected", "account_frozen").inc(2)
    metrics.decisions.labels("rejected", "invalid_request").inc(1)
    for partition, lag in (("0", 5), ("10", 1), ("2", 0)):
        metrics.lag_records.labels("withdrawal-request", partition).set(lag)
    metrics.lag_records.labels("panic-button", "0").set(4)
    metrics.lag_seconds.labels("withdrawal-request").set(1.5)
    metrics.frozen_accounts.set(3)
    here.runtime.workers = 2
    here.runtime.health.set("kafka", "no answer")
    figures = json.loads(here.ask("GET", FIGURES).text)
    assert figures.pop("at_seconds") >= first["at_seconds"]
    assert figures == {
        "problems": ["kafka: no answer"],
        "frozen_accounts": 3,
        "approved": 7,
        "rejected": 3,
        "undecided_records": 6,
        "undecided_seconds": 1.5,
        "workers": 2,
        "partitions": [0, 2, 10],
        "unapplied_records": 4,
        "unapplied_seconds": 0.0,
    }


def test_the_reminder_is_told_as_it_will_be_announced() -> None:
    """An hour before the end; none where the press set the end for no longer than that."""
    policy = FreezePolicy((PolicyEntry(0, 1, 2, 604_800),))
    for seconds, now_s, told in (
        (HOUR, 0, "none: the press set the end for an hour or less"),
        (HOUR + 1, 0, "goes out 1970-01-01 00:00:01 UTC"),
        (HOUR + 1, 1, "was due to go out 1970-01-01 00:00:01 UTC"),
    ):
        freeze = freeze_of_press(policy, "p", seconds, 0)
        answer = frozen_answer("a", freeze, now_ms=now_s * 1000, stopped=NONE_STOPPED, current=True)
        assert f"Reminder{told}" in Page("".join(answer)).text
