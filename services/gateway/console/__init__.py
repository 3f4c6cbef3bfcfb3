"""The console: server-rendered pages over the services' published HTTP APIs."""
