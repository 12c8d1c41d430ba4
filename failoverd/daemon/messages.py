"""The journal's MESSAGE_IDs: one for each kind of thing that an operator must act on, or waits for.

``systemd/failoverd.catalog`` says for each what it means and what to do next.
"""

from __future__ import annotations

from failoverd import trouble
from failoverd.core.events import Matter

DONE = "b9a5e701d4c1459eb18d41ae0db3977a"
TROUBLE = trouble.MESSAGE_ID

MATTER = {
    Matter.REFUSED: "ba8b69d44d664327a4147905b2ee7312",
    Matter.FAILED: "9f0542e0739047c48f7099cf634aad7c",
    Matter.ESCALATED: "acc1edde8c3b4af6af9483b2ceb00564",
    Matter.DRIFT: "04fe90e0694f4aa0a1e7041001c3d796",
    Matter.DOUBLE_MASTER: "6abf19801e00404d9f2c804f028190cc",
    Matter.PARTIAL: "2c9d3a4b6c0e4f5d8b7a1e90f3d2c5a8",
    Matter.RELEASED: "cf783ae8691649fe95292cc9a0c22c57",
    Matter.UNFOLLOWED: "73484b0b834d4d88b892289c67341322",
    Matter.ATTENTION: "f6df8140b7e54ac88debeb6a72fa1162",
}
