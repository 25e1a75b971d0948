"""Training: a plain PyTorch loop that knows no Ray, and the module that runs it under Ray Train."""
