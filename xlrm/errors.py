"""The errors of xlrm:

XlrmError            every error that the user or the environment causes; shown as one line, and the CLI exits with 2
├── ConfigError      a wrong file, field or value of an experiment, or of a phrasebook language
├── DataError        a row of a dataset or benchmark, or a text, that cannot be used
├── ArtifactError    an artifact that is missing, unfinished or corrupted, or a store or MLflow server that does not answer
├── JobError         a job on other machines that failed for good, after its own restarts
└── GateError        results that were computed but are not good enough to continue with

A message says where, what the value was, and what is allowed or what to do next.
"""


class XlrmError(Exception):
    pass


class ConfigError(XlrmError):
    pass


class DataError(XlrmError):
    pass


class ArtifactError(XlrmError):
    pass


class JobError(XlrmError):
    pass


class GateError(XlrmError):
    kept: str = ""
    """URI of the folder with the refused results; empty if they were not kept."""
