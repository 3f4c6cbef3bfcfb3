"""The whole decision about one person: fold, desire, compare with the portals, say what follows."""

from services.provisioning.rules.decide.worker import decide, decide_beside_portals

__all__ = ["decide", "decide_beside_portals"]
