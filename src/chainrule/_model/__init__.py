"""What a model is made of besides its network: what it was trained on, its predictions, how well it does, its file."""
