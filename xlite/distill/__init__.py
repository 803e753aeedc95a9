"""Knowledge distillation: teachers and teacher banks."""
