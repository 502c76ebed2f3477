"""Caps on money and tokens that hold: what a call may cost is reserved before it is made, and settled after it.

The database has the truth: what was spent, counted in the transaction that writes the row of an answer, and what each
process holds of the rest as a lease. A process reserves out of its own leases in memory, so that a request pays no
round trip. The room knows who shares a budget, what is left of it, and what a call can cost at most. It does not know
what a request looks like, which model is asked after which, or who is told of a budget that runs low.
"""

from mainspring.budgets.charge import Bounds, Charge
from mainspring.budgets.service import Budgets
from mainspring.budgets.types import Budget, BudgetPage, Crossing, Standing
from mainspring.budgets.validation import NewBudget, changed, checked

__all__ = [
    "Bounds",
    "Budget",
    "BudgetPage",
    "Budgets",
    "Charge",
    "Crossing",
    "NewBudget",
    "Standing",
    "changed",
    "checked",
]
