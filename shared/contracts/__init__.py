"""Topics, the CloudEvents envelope and every event model, with the schemas generated from them."""
