"""Does distillation help? Six students, each with and without a teacher; `xlite analyze` compares the pairs."""

CONFIGURATIONS = [
    {
        "model.backbone": backbone,
        "model.attention": "mhsa",
        "model.pretrained": True,
        "distill.alpha": alpha,
        "distill.temperature": 4.0,
        "optim.learning_rate": learning_rate,
        "optim.batch_size": 32,
        "optim.schedule": "plateau",
    }
    for backbone in ("efficientnet_b0", "mobilenetv3_large_100", "mobilenetv3_small_100")
    for learning_rate in (1e-4, 1e-3)
    for alpha in (0.7, 0.0)
]
