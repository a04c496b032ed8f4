"""What a part of the campaign found: how many cases were tried, how many were right, and which were not."""

from __future__ import annotations

from dataclasses import dataclass, field

NAMES_KEPT = 200


@dataclass
class Count:
    """The cases of one part.

    Attributes:
        part: What was tried, in words.
        tried: Cases so far.
        wrong: Those that went wrong, each in words.
        outcomes: How often what came of a case.
        names: The first cases, in words.
    """

    part: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    @property
    def right(self) -> int:
        """Cases that went right."""
        return self.tried - len(self.wrong)

    def add(self, case: str, problem: str = "", outcome: str = "") -> None:
        """One more case; a problem makes it a wrong one."""
        self.tried += 1
        if self.tried <= NAMES_KEPT:
            self.names.append(case)
        if outcome:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if problem:
            self.wrong.append(f"{case}: {problem}")
