"""The runbook without a person: roles with exactly the rights that are needed, and a look every night."""
