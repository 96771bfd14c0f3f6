"""The report's page: what the artifacts say (`results`, `lineage`), as figures (`plots`) and as one page (`page`)."""
