"""From verdicts to named faults, with the evidence, the controls and what suppresses them. Stages: verdicts, faults."""
