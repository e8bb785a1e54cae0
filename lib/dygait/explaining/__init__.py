"""Responses of the branches of a trained DyGait over the silhouette, by body part, and over the gait cycle."""
