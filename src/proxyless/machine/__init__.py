"""What the system tells of this machine: cores, quotas, signals; Python alone, so that it also runs elsewhere."""
