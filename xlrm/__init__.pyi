"""Types of the names that `xlrm` imports when they are used."""

from xlrm.api import Model as Model
from xlrm.api import ModelComparison as ModelComparison
from xlrm.api import ModelEvaluation as ModelEvaluation
from xlrm.api import compare as compare
from xlrm.api import evaluate as evaluate
from xlrm.api import load as load

__version__: str
