"""Students and teachers: backbones, attention, heads."""
