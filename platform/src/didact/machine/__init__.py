"""What a run stands on: devices, disks, signals, and processes that find each other and end together."""
