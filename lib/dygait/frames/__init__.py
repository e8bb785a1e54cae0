"""What is done with frames, whoever made them: masks cleaned, frames normalised and checked, heat maps, channels."""
