"""Third Ring: incident response and high availability for call platforms."""
