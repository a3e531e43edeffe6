"""Who is told, until they acknowledge, and the four lines they read. Stage: escalation."""
