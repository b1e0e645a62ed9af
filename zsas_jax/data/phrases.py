"""How prompts and captions speak: category names in words, states and templates.

The lists are those of WinCLIP's compositional prompt ensemble as ClipSAM prints them (Figure 7).
"""

NORMAL_STATES: tuple[str, ...] = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)

ABNORMAL_STATES: tuple[str, ...] = (
    "damaged {}",
    "broken {}",
    "{} with flaw",
    "{} with defect",
    "{} with damage",
)

# Fifteen lines of ClipSAM's Figure 7, all but the last with both articles.
_WITH_ARTICLE = (
    "a bad photo of {article} {{}}.",
    "a low resolution photo of {article} {{}}.",
    "a cropped photo of {article} {{}}.",
    "a bright photo of {article} {{}}.",
    "a dark photo of {article} {{}}.",
    "a photo of {article} cool {{}}.",
    "a black and white photo of {article} {{}}.",
    "a jpeg corrupted photo of {article} {{}}.",
    "a blurry photo of {article} {{}}.",
    "a photo of {article} {{}}.",
    "a photo of {article} large {{}}.",
    "a photo of {article} small {{}}.",
    "there is {article} {{}} in the scene.",
    "this is {article} {{}} in the scene.",
)
TEMPLATES: tuple[str, ...] = (
    *(line.format(article=article) for line in _WITH_ARTICLE for article in ("a", "the")),
    "this is one {} in the scene.",
)


def words(name: str) -> str:
    """A folder's or class's name as words: "metal_nut" becomes "metal nut"."""
    return " ".join(name.replace("_", " ").split())
