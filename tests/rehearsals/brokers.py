"""Changes that concern Kafka: brokers restarted one after another, and a cluster that is gone with its disks."""

from __future__ import annotations

import math
import random
import shutil
import time
from typing import TYPE_CHECKING

from schemas.wire import rfc3339
from streams.dev_broker import KAFKA_VERSION, DevBroker
from streams.rule import BUILT_IN_POLICY, freeze_of_press
from tests.chaos.faults import Scene, until_insync
from tests.chaos.traffic import STORM_PRESSES
from tests.deployment import Deployment
from tests.processes import PATIENCE_SECONDS, wait_for
from tests.rehearsals.stage import Stage
from tests.rehearsals.workers import last_line

if TYPE_CHECKING:
    from tests.rehearsals.stage import Version

EXIT_FOLDER = 4
# Of the accounts that are pressed for again: how many are asked about with `status`.
ASKED_ABOUT = 3
# Enough that none of the new partitions stays without a request.
ASKED_IN_GROWN = 100
HEARD_OF_SECONDS = 90.0


def kafka_upgrade(stage: Stage, _old: Version, new: Version) -> None:
    """Stop each broker, start it with the version of the development broker, wait until all is in sync, then the next.

    The workers stay as they are; one that ends with exit code 3 is started again. Kafka's feature level is left where
    it was, as the runbook says.
    """
    cluster = stage.cluster
    assert cluster is not None
    stage.open(new)
    stage.supervise(new)
    scene = Scene(stage.gate, cluster, stage.stop, random.Random(0))
    until_insync(scene)
    for number, broker in enumerate(cluster.brokers, start=1):
        began = time.monotonic()
        broker.stop()
        before, broker.version = broker.version, KAFKA_VERSION
        stopped = time.monotonic()
        broker.start()
        answers = time.monotonic()
        until_insync(scene)
        stage.say(
            f"broker {number}, {before} to {broker.version}: ended after {stopped - began:.1f} s, "
            f"answers again after {answers - stopped:.1f} s, "
            f"every replica in sync after another {time.monotonic() - answers:.1f} s"
        )
        stage.since(began, f"broker {number}")
    stage.done()


def growing_a_topic(stage: Stage, _old: Version, new: Version) -> None:
    """Let four topics grow under the workers, in the runbook's order; what is asked in new partitions is decided."""
    stage.open(new)
    before = stage.gate.partitions
    grown = range(before, 2 * before)
    for topic in ("withdrawal-decision", "dead-letter", "panic-button", "withdrawal-request"):
        stage.gate.add_partitions(topic, 2 * before)
    grew = time.monotonic()
    stage.say(f"every topic but freeze-status has {2 * before} partitions now, {before} before")

    def followed() -> bool:
        said = "\n".join(post.worker.get("/metrics")[1] for post in stage.posts)
        series = (f'gate_consumer_lag_records{{partition="{number}",topic="withdrawal-request"}}' for number in grown)
        return all(one in said for one in series)

    wait_for(followed, "each new partition of withdrawal-request to have its series", HEARD_OF_SECONDS)
    stage.say(f"each new partition of withdrawal-request has its series after {time.monotonic() - grew:.1f} s")
    # A publisher that began before hears of new partitions within minutes; these two begin now.
    with stage.gate.publisher() as app, stage.gate.publisher() as wallet:
        for number in range(ASKED_IN_GROWN):
            app.send_press(f"grown-{number}")
        app.flush()
        asked = [wallet.request(f"grown-{number}", f"grown-{number}") for number in range(ASKED_IN_GROWN)]
    if not {request.partition for request in asked} >= set(grown):
        stage.find("not every new partition of withdrawal-request was asked in")
    wait_for(
        lambda: {one.withdrawal_id for one in asked} <= stage.gate.decisions().keys(), "decisions of what was asked"
    )
    stage.say(f"{len(asked)} accounts pressed and asked, in old and new partitions: all are decided")
    stage.done()


def region_loss(stage: Stage, _old: Version, new: Version) -> None:
    """Another cluster is gone with its disks; here everybody is pressed for again whom the copy or the app's log has.

    The copy ends before its cluster does, as any copy may: the presses after it are in the app's log only.
    """
    folder = stage.gate.folder / "lost"
    with DevBroker(folder / "kafka") as broker:
        with Stage(Deployment(broker.bootstrap, "lost", folder), workers=1) as lost:
            lost.open(new)
            with lost.gate.publisher() as app:
                app.storm(STORM_PRESSES, "storm")
            lost.gate.read_history()
            copied = list(lost.gate.history.press_records)
            lost.calm()
            lost.close()
            with lost.gate.publisher() as app:
                app.press("pressed-after-the-copy")
        stage.findings += lost.findings
        broker.kill()
    ends: dict[str, int] = {}
    for account, asked_seconds, append_ms in [
        *((record.press.account_id, record.press.asked_seconds, record.append_ms) for record in copied),
        *((press.account_id, None, press.append_ms) for press in lost.gate.history.presses),
    ]:
        freeze = freeze_of_press(BUILT_IN_POLICY, "", asked_seconds, append_ms)
        ends[account] = max(freeze.frozen_until_ms, ends.get(account, 0))
    stage.say(
        f"a cluster is gone; its copy of panic-button ended before it, and {len(ends)} accounts are in copy or log"
    )
    press_again(stage, ends)
    stage.posts[0].data.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(lost.posts[0].data, stage.posts[0].data)
    refused = stage.posts[0].start(new)
    if (code := refused.process.wait(PATIENCE_SECONDS)) != EXIT_FOLDER:
        stage.find(f"a data folder of the lost cluster ended a worker with exit code {code}, not {EXIT_FOLDER}")
    stage.say(f"a data folder brought along: exit code {code}: {last_line(refused)}")
    shutil.rmtree(stage.posts[0].data)
    stage.open(new)
    for post in stage.posts:
        if (known := post.worker.metric("gate_frozen_accounts")) < len(ends):
            stage.find(f"{post.folder} knows {known:g} frozen accounts, not {len(ends)}")
    stage.say(f"every worker knows at least {len(ends)} frozen accounts")
    none_shortened(stage, ends)
    stage.done()


def press_again(stage: Stage, ends: dict[str, int]) -> None:
    """Press for every account, for at least the seconds that are left of its freeze, and ask about some."""
    began = time.monotonic()
    with stage.gate.publisher() as app:
        for account, frozen_until_ms in ends.items():
            app.send_press(account, math.ceil((frozen_until_ms - time.time_ns() // 1_000_000) / 1_000))
    stage.say(f"{len(ends)} presses again, all acknowledged after {time.monotonic() - began:.1f} s; no worker runs yet")
    for account in list(ends)[-ASKED_ABOUT:]:
        stage.expect(0, "status", account)


def none_shortened(stage: Stage, ends: dict[str, int]) -> None:
    """Ask for a withdrawal of each account, and hold each rejection against the end that its freeze had."""
    with stage.gate.publisher() as wallet:
        asked = {wallet.request(account, f"after-the-loss-{account}").withdrawal_id: account for account in ends}
    wait_for(lambda: asked.keys() <= stage.decisions.came_at.keys(), "a decision for each account pressed for again")
    decisions = stage.gate.decisions()
    for withdrawal_id, account in asked.items():
        decision = decisions[withdrawal_id]
        if decision["decision"] != "rejected" or decision["frozen_until"] < rfc3339(ends[account]):
            stage.find(f"{account}: {decision['decision']}, frozen until {decision['frozen_until']}")
    stage.say(f"{len(asked)} requests, one for each: all rejected, no freeze ends earlier than it did")
