"""Replays of recordings of the released code: one folder for each method.

`replay` has what they share. A new method adds a table from the files of its recording to
the parts that replay them, and its row in `REPLAYS`.
"""

__all__ = ["REPLAYS"]

REPLAYS: dict[str, str] = {
    "asg": "vlp_zoo.parity.asg.replay.replay_fixture",
    "ecamp": "vlp_zoo.parity.ecamp.replay.replay_fixture",
    "flair": "vlp_zoo.parity.flair.replay.replay_fixture",
    "gloria": "vlp_zoo.parity.gloria.replay.replay_fixture",
    "imitate": "vlp_zoo.parity.imitate.replay.replay_fixture",
    "medclip": "vlp_zoo.parity.medclip.replay.replay_fixture",
    "mflag": "vlp_zoo.parity.mflag.replay.replay_fixture",
    "mgca": "vlp_zoo.parity.mgca.replay.replay_fixture",
    "mrm": "vlp_zoo.parity.mrm.replay.replay_fixture",
}
"""Method to the function that replays a folder of its recordings."""
