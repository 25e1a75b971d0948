"""The control plane's routes, one module per group of paths; `serve.control_api` puts them together."""
