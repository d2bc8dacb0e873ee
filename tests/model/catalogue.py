"""Every scenario and every wrong variant, with what the search is to find: the promise it breaks, or that all is kept.

A variant that breaks nothing is one whose fault others make good: that is what there are several fences for. Each of
these stands beside the one in which the others are left out too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model import announcing, deciding, folding, freshness, overlapping
from tests.model.announcing import Announcing
from tests.model.deciding import Deciding
from tests.model.folding import Folding
from tests.model.freshness import Freshness
from tests.model.overlapping import Overlapping


class Case(NamedTuple):
    """A model, by the name that docs/proof.md gives it, and the promise that the search finds broken; None for kept."""

    name: str
    model: Any
    breaks: str | None


DESIGN = tuple(
    Case(f"the design: {model.name}", model, None)
    for model in (Freshness(), Folding(), Deciding(), Overlapping(), Announcing())
)
_F, _T, _D, _O, _A = (one.LeftOut for one in (freshness, folding, deciding, overlapping, announcing))
WRONG = (
    Case("no barrier", Freshness(_F.BARRIER), "G1"),
    Case("barrier before fetch", Freshness(_F.FETCH_FIRST), "G1"),
    Case("cached watermark", Freshness(_F.ASKING_EACH_TIME), "G1"),
    Case("end offset of one partition only", Freshness(_F.OTHER_PARTITIONS), "G1"),
    Case("partitions as they were at the start", Freshness(_F.NEW_PARTITIONS), "G1"),
    Case("last stable offset instead of high watermark", Freshness(_F.HIGH_WATERMARK), "G1"),
    Case("last write wins", Folding(_T.MAXIMUM), "G2"),
    Case("time from the body", Folding(_T.BROKER_TIME), "G2"),
    Case("rebuilt with today's policy", Folding(_T.POLICY_HISTORY), "G2"),
    Case("table offset before the fold", Folding(_T.OFFSET_WITH_FOLD), "G2"),
    Case("table offset after the fold, apart", Folding(_T.FOLD_WITH_OFFSET), "status"),
    Case("purge by a time that is not known", Folding(_T.KNOWN_TIME), "G2"),
    Case("group metadata read at commit", Deciding(_D.EPOCH_CHECK), "G4"),
    Case("no transactional id of the partition", Deciding(_D.TRANSACTIONAL_ID), "G4"),
    Case("no group metadata of the assignment", Deciding(_D.METADATA_CHECK, _D.EPOCH_CHECK), "G4"),
    Case("no tail of the outcomes", Deciding(_D.TAIL), "G4"),
    Case(
        "none of the three fences",
        Deciding(_D.TRANSACTIONAL_ID, _D.METADATA_CHECK, _D.EPOCH_CHECK, _D.TAIL, rewinds=False),
        "G4",
    ),
    Case("generation unchecked, other fences kept", Deciding(_D.METADATA_CHECK), None),
    Case("generation unchecked, no transactional id", Deciding(_D.METADATA_CHECK, _D.TRANSACTIONAL_ID), "G4"),
    Case("no tail, offsets not set back", Deciding(_D.TAIL, rewinds=False), None),
    Case("no tail of the dead letters", Deciding(_D.LETTER_TAIL), "G4"),
    Case("fencing after asking where to go on", Deciding(_D.FENCE_FIRST), "late"),
    Case("reading from the earliest, other fences kept", Deciding(_D.STABLE_OFFSET), None),
    Case(
        "reading from the earliest, one producer a worker",
        Deciding(_D.STABLE_OFFSET, _D.TRANSACTIONAL_ID, _D.TAIL, rewinds=False),
        "G4",
    ),
    Case("producer kept after a timeout", Deciding(_D.RENEWAL), "G4"),
    Case("offsets before the decisions", Deciding(_D.OFFSET_IN_TRANSACTION), "never"),
    Case("offsets after the decisions, tail kept", Deciding(_D.DECISION_IN_TRANSACTION), None),
    Case("offsets after the decisions, no tail", Deciding(_D.DECISION_IN_TRANSACTION, _D.TAIL), "G4"),
    Case("dedupe memory not restored", Deciding(_D.IDS), "G4"),
    Case("ids on their way not counted", Overlapping(_O.ON_THEIR_WAY), "G4"),
    Case("next batch kept after a failed commit", Overlapping(_O.FAILED_BEFORE), "G4"),
    Case("ids of an earlier assignment counted", Overlapping(_O.SETTLE), "G4"),
    Case("timers before their transaction", Announcing(_A.MOMENT_WITH_ENDS), "status"),
    Case("timers after their transaction", Announcing(_A.ENDS_WITH_MOMENT), "never"),
    Case("announced moment goes back", Announcing(_A.NEVER_BACK), "status"),
    Case("ends announced before the presses", Announcing(_A.PRESSES_FIRST), "never"),
)
# The design once more, further out than the suite has time for.
WIDE = Case("the design: deciding, wider", Deciding(requests=3, faults=4), None)
