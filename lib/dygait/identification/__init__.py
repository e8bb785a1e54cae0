"""Who is it? A gallery of people, enrolled by their walks, in which tracks are searched."""

from dygait.identification.gallery import Answer, Gallery
from dygait.identification.search import Candidate
