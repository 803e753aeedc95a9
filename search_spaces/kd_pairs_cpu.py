"""Does distillation help? Six small students, each with and without a teacher; `xlite analyze` compares the pairs."""

CONFIGURATIONS = [
    {
        "model.backbone": backbone,
        "model.attention": "none",
        "model.pretrained": False,
        "distill.alpha": alpha,
        "distill.temperature": 4.0,
        "optim.learning_rate": learning_rate,
        "optim.batch_size": 16,
        "optim.schedule": "cosine",
    }
    for backbone in ("mobilenetv3_small_050", "mobilenetv3_small_075", "lcnet_050")
    for learning_rate in (1e-3, 3e-3)
    for alpha in (0.5, 0.0)
]
