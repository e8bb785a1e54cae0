"""Identification: a gallery of people, enrolled by their walks, and the search for the person of a track."""

from dygait.identification.gallery import Answer, Gallery
from dygait.identification.search import Candidate
