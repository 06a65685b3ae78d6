"""Self-distillation for didact: EMA teacher, top-K targets, latent regression."""
