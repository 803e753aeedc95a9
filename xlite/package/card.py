"""The seal at the end of a model card, by which a later packaging sees whether a person has changed it."""

import hashlib

CARD = "MODEL_CARD.md"
_START = "<!-- written by xlite, promotion "


def sealed(text: str, promotion: str) -> str:
    """The card `text` of a promotion, with the seal after it."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}{_START}{promotion}, sha256 {digest} -->\n"


def promotion_of(card: str) -> str:
    """The promotion that a card's seal names; "" where there is no seal."""
    return card.rpartition(_START)[2].partition(",")[0] if _START in card else ""


def is_untouched(card: str) -> bool:
    """Whether a card is, to the last character, as `sealed` made it."""
    return card == sealed(card.rpartition(_START)[0], promotion_of(card))
