"""The orchestrator: simpy processes, request life cycle, KV accounting and records, for both worlds."""
