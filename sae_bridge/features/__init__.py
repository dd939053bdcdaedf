"""What the features of an SAE are: where they fire, what they do to the next token, pages and scores of them."""

from sae_bridge.features.describe import Verdict, described, top_tokens
from sae_bridge.features.effects import Effects, directions, effects
from sae_bridge.features.firing import Piece, pieces
from sae_bridge.features.gather import Gathered, Look, chosen_features, gather
from sae_bridge.features.neighbours import nearest_by_cosine, nearest_by_firing
from sae_bridge.features.pages import require_writable, write_pages
from sae_bridge.features.scores import A_TOKEN, FeatureScores, auc, feature_scores
from sae_bridge.features.spelling import Spelling, marked, visible

__all__ = [
    "A_TOKEN",
    "Effects",
    "FeatureScores",
    "Gathered",
    "Look",
    "Piece",
    "Spelling",
    "Verdict",
    "auc",
    "chosen_features",
    "described",
    "directions",
    "effects",
    "feature_scores",
    "gather",
    "marked",
    "nearest_by_cosine",
    "nearest_by_firing",
    "pieces",
    "require_writable",
    "top_tokens",
    "visible",
    "write_pages",
]
