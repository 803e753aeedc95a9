"""Eight distillation configurations: two students x two temperatures x two alphas."""

CONFIGURATIONS = [
    {
        "model.backbone": backbone,
        "model.attention": "mhsa",
        "distill.temperature": temperature,
        "distill.alpha": alpha,
        "optim.learning_rate": 1e-3,
        "optim.batch_size": 64,
    }
    for backbone in ("efficientnet_b0", "mobilenetv3_small_100")
    for temperature in (4.0, 8.0)
    for alpha in (0.7, 0.5)
]
