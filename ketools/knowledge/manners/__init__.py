"""Tells the manner of a text: a linear head over sentence embeddings, trained on packaged texts."""

from ketools.knowledge.manners.head import Manner, MannerHead, Manners
from ketools.knowledge.manners.training import MannerQuality, train_manners

__all__ = ["Manner", "MannerHead", "MannerQuality", "Manners", "train_manners"]
