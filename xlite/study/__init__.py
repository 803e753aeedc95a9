"""One study without Ray: options, search space, plan, teacher, manifest."""
