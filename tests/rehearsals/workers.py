"""Changes that concern the workers: one after the other, while the others decide."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

from schemas.wire import rfc3339
from streams.settings import Settings
from tests.processes import PATIENCE_SECONDS, wait_for
from tests.rehearsals.stage import wait_until

if TYPE_CHECKING:
    from tests.processes import Worker
    from tests.rehearsals.stage import Post, Stage, Version

# A worker drains within ten seconds of SIGTERM.
END_SECONDS = 10.0
# How many freezes every worker is asked about.
SAMPLE = 20
# A press is in force within milliseconds; a worker that shares two cores with brokers may take some seconds.
ALIKE_SECONDS = 10.0
EXIT_SETTINGS, EXIT_FOLDER = 2, 4


def rolling_upgrade(stage: Stage, old: Version, new: Version) -> None:
    """One worker after another from the old version to the new one, each on its own data folder."""
    stage.open(old)
    stage.expect(0, "topics", "check", **new.environment)
    for post in stage.posts:
        change(stage, post, new)
    stage.done()


def change(stage: Stage, post: Post, new: Version, **environment: str) -> None:
    """Let a worker end and another one start on its folder."""
    began = time.monotonic()
    stage.ended(post, 0)
    stage.ready_again(post, new, **environment)
    stage.since(began, post.folder)


def roll_back(stage: Stage, old: Version, new: Version) -> None:
    """In the middle of an upgrade a worker does not come up (a wrong setting); it goes back first, then the others."""
    stage.open(old)
    upgraded, failing = stage.posts[:2]
    change(stage, upgraded, new)
    stage.ended(failing, 0)
    failed = failing.start(new, GATE_APPROVAL_SECONDS="60")
    code = failed.process.wait(PATIENCE_SECONDS)
    if code != EXIT_SETTINGS:
        stage.find(f"a wrong setting ended {failing.folder} with exit code {code}, not {EXIT_SETTINGS}")
    stage.say(f"{failing.folder}: {new.name} with a wrong setting, exit code {code}: {last_line(failed)}")
    back(stage, failing, old)
    stage.ended(upgraded, 0)
    back(stage, upgraded, old)
    stage.done()


def back(stage: Stage, post: Post, old: Version) -> None:
    """Start the old version; if it refuses the folder that the new one wrote, delete that, as the runbook says."""
    worker = post.start(old)
    wait_for(lambda: worker.process.poll() is not None or worker.ready(), f"{post.folder} to be ready or to end")
    if worker.process.poll() is None:
        stage.say(f"{post.folder}: {old.name} is ready on the folder as the other version left it")
        return
    code = worker.process.returncode
    stage.say(f"{post.folder}: {old.name} ended with exit code {code}: {last_line(worker)}")
    if code != EXIT_FOLDER:
        stage.find(f"{old.name} ended with exit code {code}, not {EXIT_FOLDER}")
    shutil.rmtree(post.data)
    stage.ready_again(post, old)


def disk_loss(stage: Stage, _old: Version, new: Version) -> None:
    """Each worker in turn is killed and loses its data folder; it rebuilds its table before it decides."""
    stage.open(new)
    for post in stage.posts:
        for other in stage.posts:
            other.worker.wait_ready()
        began = time.monotonic()
        post.worker.kill()
        shutil.rmtree(post.data)
        stage.say(f"{post.folder}: kill -9, its folder deleted")
        stage.ready_again(post, new)
        if left := post.worker.metric("gate_table_restore_remaining_records"):
            stage.find(f"{post.folder} is ready with {left:g} presses not in its table")
        stage.since(began, post.folder)
    same_freezes(stage)
    stage.done()


def policy_change(stage: Stage, _old: Version, new: Version) -> None:
    """Give one worker after another a policy whose new entry begins later; a table that is rebuilt sees it alike."""
    began_with = {"effective_from": "1970-01-01T00:00:00Z", **policy_of(hours=48)}
    today, changed = (stage.gate.folder / name for name in ("today.json", "changed.json"))
    today.write_text(json.dumps([began_with]))
    stage.open(new, GATE_POLICY=str(today))
    # As long for each as all of them took to start, and some seconds to end.
    lead_seconds = (stage.opened_at - stage.began + END_SECONDS) * len(stage.posts)
    effective_ms = time.time_ns() // 1_000_000 + int(lead_seconds * 1_000)
    stage.say(f"the default window goes from 48 to 72 h for presses from {rfc3339(effective_ms)} on")
    changed.write_text(json.dumps([began_with, {"effective_from": rfc3339(effective_ms), **policy_of(hours=72)}]))
    stage.gate.environment["GATE_POLICY"] = str(changed)
    stage.gate.history.policy = Settings.from_environment(stage.gate.environment).policy
    stage.expect(0, "topics", "check")
    with stage.gate.publisher() as app:
        app.press("pressed-before")
        for post in stage.posts:
            change(stage, post, new)
            app.press(f"pressed-after-{post.folder}")
        if time.time_ns() // 1_000_000 >= effective_ms:
            stage.find(
                f"not every worker had the new policy before it took effect, {lead_seconds:.0f} s after its making"
            )
        wait_until(effective_ms, lead_seconds)
        app.press("pressed-later")
    hours = windows(stage)
    for account, found in hours.items():
        if found != (72 if account == "pressed-later" else 48):
            stage.find(f"{account} is frozen for {found:g} h")
    stage.say(f"freeze-status has {', '.join(f'{account}: {found:g} h' for account, found in hours.items())}")
    rebuilt = stage.posts[0]
    stage.ended(rebuilt, 0)
    shutil.rmtree(rebuilt.data)
    stage.ready_again(rebuilt, new)
    same_freezes(stage, *hours)
    stage.done()


def policy_of(hours: int) -> dict[str, int]:
    """Return an entry's bounds with this default."""
    return {"min_seconds": 24 * 3_600, "default_seconds": hours * 3_600, "max_seconds": 7 * 24 * 3_600}


def windows(stage: Stage) -> dict[str, float]:
    """Return the hours that each account pressed by hand got, once all of their statuses are there."""
    accounts = ["pressed-before", *(f"pressed-after-{post.folder}" for post in stage.posts), "pressed-later"]

    def told() -> dict[str, float]:
        said = {status["account_id"]: status for status in stage.gate.values("freeze-status")}
        return {name: said[name]["applied_seconds"] / 3_600 for name in accounts if name in said}

    wait_for(lambda: len(told()) == len(accounts), "the statuses of what was pressed by hand")
    return told()


def same_freezes(stage: Stage, *accounts: str) -> None:
    """Hold that every worker knows each of these freezes, or the last of the traffic's, with the same end."""
    asked = accounts or tuple({press.account_id for press in stage.gate.history.presses[-SAMPLE:]})
    for post in stage.posts:
        post.worker.wait_ready()

    def alike() -> bool:
        answers = [{post.worker.get(f"/freezes/{account}") for post in stage.posts} for account in asked]
        return all(len(said) == 1 and next(iter(said))[0] == 200 for said in answers)

    wait_for(alike, f"the workers to answer alike about {len(asked)} freezes", ALIKE_SECONDS)
    stage.say(f"every worker answers alike about {len(asked)} freezes")


def last_line(worker: Worker) -> str:
    """Return what a worker said last, without the path of its folder."""
    return worker.log.read_text().strip().splitlines()[-1].replace(f"{worker.folder}/", "")
