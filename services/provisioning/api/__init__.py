"""Provisioning over HTTP, under `/access/v1`: one module per kind of question or command."""
