"""Runs of runbooks: steps, people, retries, rollback, recovery, and the dry run's plan. Stage: runs."""
