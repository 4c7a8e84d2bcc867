"""Sentences, speeds and savings that an audit was asked for."""

from __future__ import annotations

from dimbench.names import is_among
from dimbench.papers import printed as tables
from dimbench.papers import saved_claims, speed_claims
from dimbench.papers.saved_claims import SavedClaim
from dimbench.papers.sentences import Sentence, contradictions
from dimbench.papers.speed_claims import SpeedClaim
from dimbench.papers.survey_sentences import SENTENCES


def sentences(*patterns: str) -> list[Sentence]:
    """Those about models, or of surveys with a table, whose name a wildcard matches; all where there is none."""
    return [each for each in (*SENTENCES, *contradictions()) if is_among(patterns, *each.about, *_tables(each.source))]


def speeds(*patterns: str) -> list[SpeedClaim]:
    """Those about models, or from tables, whose name one of the wildcards matches; all where there is none."""
    return [each for each in speed_claims.CLAIMS if is_among(patterns, each.fast, each.slow, each.table)]


def savings(*patterns: str) -> list[SavedClaim]:
    """Those about models, or of methods, whose name one of the wildcards matches; all where there is none."""
    return [each for each in saved_claims.CLAIMS if is_among(patterns, each.run.model, each.plain, each.paper)]


def _tables(source: str) -> list[str]:
    """The tables of a survey."""
    start = source.partition(" (")[0]
    return [table.name for table in tables.all_tables().values() if table.source.partition(" (")[0] == start]
