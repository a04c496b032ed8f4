"""The account of a training: what an estimate is made from, the estimate, the outcome, totals."""
