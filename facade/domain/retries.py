"""What is asked again when a service is away, and how often by all runs together."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from threadmesh.clock import Clock
from threadmesh.retry_budget import RetryBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """One budget for each kind of question: that one of them is answered does not tell that the others are.

    Renewals of leases have one of their own, so that they wait behind nothing but renewals.
    """

    models: RetryBudget
    answers: RetryBudget
    offers: RetryBudget
    calls: RetryBudget
    reads: RetryBudget
    writes: RetryBudget
    renewals: RetryBudget

    @classmethod
    def by(cls, clock: Clock) -> Self:
        """Give the budgets of a process that has just begun."""
        return cls(**{each.name: RetryBudget(clock) for each in fields(cls)})

    def by_name(self) -> Mapping[str, RetryBudget]:
        """Give all of them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}
