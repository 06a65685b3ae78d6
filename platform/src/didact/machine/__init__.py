"""The machine of a run: devices, disks, signals, and connected processes."""
