"""The load that the barrier is for: presses of many accounts pour in while single ones press and are robbed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.deployment import Deployment

ROBBED_A_ROUND = 100
CALM_FOR_EACH_ROBBED = 4


def press_and_ask_in_a_storm(gate: Deployment, rounds: int, storm: int) -> None:
    """Each round: `storm` presses of others at once and 100 of the robbed; once all are acknowledged, the robbed ask.

    Between their requests lie those of 400 accounts that never pressed.
    """
    with gate.publisher() as presses, gate.publisher() as wallet:
        for turn in range(rounds):
            presses.storm(storm, f"storm-{turn}")
            for number in range(ROBBED_A_ROUND):
                presses.send_press(f"robbed-{turn}-{number}")
            presses.flush()
            for number in range(ROBBED_A_ROUND):
                wallet.request(f"robbed-{turn}-{number}")
                for calm in range(CALM_FOR_EACH_ROBBED):
                    wallet.request(f"calm-{number}-{calm}")
        gate.wait_decided()
