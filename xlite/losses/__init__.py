"""Training losses: supervised, distillation, and the objective that sums them."""
