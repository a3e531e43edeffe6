"""Incidents: the faults of one cause, how bad, and what is done about them. Stage: incidents."""
