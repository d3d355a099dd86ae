"""How good a restoration is; every number carries its protocol."""

from verax.metrics.folders import FolderScores, score_folders
from verax.metrics.pixel import PSNR_CAP_DB
from verax.metrics.protocol import Protocol, Score
from verax.metrics.registry import METRICS, Metric
from verax.metrics.scoring import score

__all__ = [
    "METRICS",
    "PSNR_CAP_DB",
    "FolderScores",
    "Metric",
    "Protocol",
    "Score",
    "score",
    "score_folders",
]
