"""Where the branches of a trained DyGait respond: over the silhouette, by body part, over the gait cycle."""
