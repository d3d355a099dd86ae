"""Facts as data: models, prompts, datasets; one reader."""
