"""What a network costs in time: devices and runtimes, timing, latency tables, and predictions of latencies."""
