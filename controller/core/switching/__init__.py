"""Switches of groups: the permit, the phases in their order, compensation, reconciliation. Stage: failover."""
