"""Documents: frozen pydantic models of everything that crosses a process or disk border. No I/O happens here."""
